"""The inference pipeline: the champion's predictions for every face in pictures."""

from pathlib import Path

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.loading import PROJECT
from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from stack.step_places import StepPlaces
from steps.predict_pictures import predict_pictures
from vision.data.treatment import BLENDED, SCALED
from vision.lifecycle.releases import newest_release


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def inference(settings: Settings, tags: dict[str, str]) -> None:
    """One step."""
    bundle, name = newest_release(), settings.tracking.model_name
    released = str(bundle.relative_to(PROJECT)) if bundle else ""
    predict_pictures(settings.inference, name, released, settings.bundle.max_bytes, tags, StepPlaces.of(settings))


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack."""
    return Outcome(summarize(execute(inference, settings, settings, tags)))


def summarize(finished: object) -> dict[str, str]:
    """Return what the last lines say of the step predict_pictures."""
    report = output(finished, "predict_pictures", "inference_report")
    folder = Path(output(finished, "predict_pictures", "predictions_folder"))
    passed_over = {}
    if report.left_out:
        passed_over["left out"] = report.left_out
    if report.ends_early:
        passed_over["ends early"] = report.ends_early
    if report.several:
        passed_over["first picture only"] = f"of {report.several} files, which hold several"
    if report.too_small:
        passed_over["faces too small"] = f"{report.too_small} left out (lower inference.min_face_pixels to keep them)"
    if report.white_levels:
        passed_over[SCALED] = f"{report.white_levels}, guessed from the levels that each picture has"
    if report.blended:
        passed_over[BLENDED] = f"{report.blended} with transparent pixels; what these hide is not used"
    if report.finished_before:
        passed_over["earlier result"] = f"of {report.finished_before}; delete {folder} to predict anew"
    timeline = {}
    if report.tracks is not None:
        timeline["timeline"] = f"{folder / 'timeline.html'} ({report.tracks} faces followed)"
    return {
        "model": output(finished, "predict_pictures", "model_uri"),
        "pictures": f"{report.pictures} ({report.unreadable} unreadable, {report.without_face} without a face)",
        **passed_over,
        "faces": f"{report.faces} ({report.uncertain} uncertain)",
        "predictions": str(folder / "predictions.parquet"),
        "summary": str(folder / "summary.html"),
        **timeline,
    }
