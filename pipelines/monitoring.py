"""The monitoring pipeline: inference with an end that asks how far the faces are from the champion's."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.errors import DRIFTED
from configs.settings import Settings
from pipelines.inference import summarize
from pipelines.runner import Outcome, execute, output
from steps.compare_faces import compare_faces
from steps.predict_pictures import predict_pictures


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring(settings: Settings, tags: dict[str, str]) -> None:
    """Predict, then compare with what the model was trained on."""
    tracking = settings.tracking
    _, folder, model_uri = predict_pictures(settings.inference, tracking.model_name, tags)
    compare_faces(folder, model_uri, settings.monitoring, str(tracking.reports_folder))


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack; the exit code says whether a property has drifted."""
    finished = execute(monitoring, settings, settings, tags)
    drift = output(finished, "compare_faces", "drift_report")
    lines = {
        **summarize(finished),
        "drifted": ", ".join(drift.drifted_properties) or "nothing",
        "drift page": output(finished, "compare_faces", "page"),
    }
    return Outcome(lines, DRIFTED if drift.drifted else 0)
