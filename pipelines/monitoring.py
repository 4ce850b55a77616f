"""The monitoring pipeline: inference with an end that asks how far the faces are from the champion's."""

from pathlib import Path

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.errors import DRIFTED
from configs.settings import Settings
from pipelines.inference import summarize
from pipelines.runner import Outcome, execute, output
from steps.collect_served_faces import collect_served_faces
from steps.compare_faces import compare_faces
from steps.predict_pictures import predict_pictures
from vision.lifecycle.served_faces import holds_served_faces


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring(settings: Settings, tags: dict[str, str]) -> None:
    """Predict, then compare with what the model was trained on."""
    tracking = settings.tracking
    inference, max_bytes = settings.inference, settings.bundle.max_bytes
    _, folder, model_uri = predict_pictures(inference, tracking.model_name, "", max_bytes, tags)
    compare_faces(folder, model_uri, settings.monitoring, str(tracking.reports_folder))


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring_of_served(settings: Settings, tags: dict[str, str]) -> None:
    """Compare what the service noted of the faces that it answered with what the model was trained on."""
    tracking = settings.tracking
    reports = str(tracking.reports_folder)
    served = str(Path(settings.inference.input).expanduser())
    _, folder, model_uri = collect_served_faces(served, tracking.model_name, reports, tags)
    compare_faces(folder, model_uri, settings.monitoring, reports)


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack; the exit code says whether a property has drifted."""
    if holds_served_faces(Path(settings.inference.input).expanduser()):
        finished = execute(monitoring_of_served, settings, settings, tags)
        faces, uri = (output(finished, "collect_served_faces", name) for name in ("faces", "model_uri"))
        lines = {"model": uri, "faces": f"{faces}, as the service answered them"}
    else:
        finished = execute(monitoring, settings, settings, tags)
        lines = summarize(finished)
    drift = output(finished, "compare_faces", "drift_report")
    lines |= {
        "drifted": ", ".join(drift.drifted_properties) or "nothing",
        "drift page": output(finished, "compare_faces", "page"),
    }
    return Outcome(lines, DRIFTED if drift.drifted else 0)
