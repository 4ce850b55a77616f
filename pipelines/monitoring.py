"""The monitoring pipeline: inference with an end that asks how far the faces are from the champion's."""

from pathlib import Path

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.errors import DRIFTED, UserError
from configs.settings import Settings
from pipelines.inference import summarize
from pipelines.runner import Outcome, execute, output
from stack.elsewhere import runs_here
from stack.preflight import check_monitoring
from stack.step_places import StepPlaces
from steps.collect_served_faces import collect_served_faces
from steps.compare_faces import compare_faces
from steps.predict_pictures import predict_pictures
from vision.lifecycle.served_faces import holds_served_faces


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring(settings: Settings, tags: dict[str, str]) -> None:
    """Predict, then compare with what the model was trained on."""
    tracking = settings.tracking
    inference, max_bytes = settings.inference, settings.bundle.max_bytes
    places = StepPlaces.of(settings)
    _, folder, model_uri = predict_pictures(inference, tracking.model_name, "", max_bytes, tags, places)
    compare_faces(folder, model_uri, settings.monitoring, places)


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def monitoring_of_served(settings: Settings, tags: dict[str, str]) -> None:
    """Compare what the service noted of the faces that it answered with what the model was trained on."""
    places = StepPlaces.of(settings)
    served = str(Path(settings.inference.input).expanduser())
    _, folder, model_uri = collect_served_faces(served, settings.tracking.model_name, places, tags)
    compare_faces(folder, model_uri, settings.monitoring, places)


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack; the exit code says whether a property has drifted.

    Raises UserError before the first picture where there is nothing to compare with.
    """
    if holds_served_faces(Path(settings.inference.input).expanduser()):
        if not runs_here():
            raise UserError(
                f"inference.input {settings.inference.input} is what the service wrote on this machine, and the steps "
                "of the active stack run elsewhere; run --pipeline monitoring on a stack with the local orchestrator"
            )
        finished = execute(monitoring_of_served, settings, settings, tags)
        faces, uri = (output(finished, "collect_served_faces", name) for name in ("faces", "model_uri"))
        lines = {"model": uri, "faces": f"{faces}, as the service answered them"}
    else:
        check_monitoring(settings)
        finished = execute(monitoring, settings, settings, tags)
        lines = summarize(finished)
    drift = output(finished, "compare_faces", "drift_report")
    lines |= {
        "drifted": ", ".join(drift.drifted_properties) or "nothing",
        "drift page": output(finished, "compare_faces", "page"),
    }
    return Outcome(lines, DRIFTED if drift.drifted else 0)
