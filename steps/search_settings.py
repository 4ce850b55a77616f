"""Step search_settings: search for better settings, each trial a nested MLflow run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import mlflow
from mlflow.entities import RunStatus
from optuna import TrialPruned
from zenml import step

from configs.loading import flatten
from configs.settings import Settings
from materializers.report_materializer import ReportMaterializer
from stack.model_store import find_teachers
from stack.run_log import log_report, measured
from stack.step_places import StepPlaces
from vision.data.faces import FaceSet
from vision.training.tuning import SearchData, SearchPlaces, TuningReport
from vision.training.tuning import search_settings as search


@step(experiment_tracker=True, enable_cache=False, output_materializers={"tuning_report": ReportMaterializer})
def search_settings(
    prepared: FaceSet, settings: dict[str, Any], places: StepPlaces
) -> tuple[Annotated[TuningReport, "tuning_report"], Annotated[str, "best_file"]]:
    """Search on the prepared faces, each trial a nested MLflow run; write the best one's settings as YAML."""
    whole = Settings(**settings)
    with measured():
        teachers, _ = find_teachers(whole.training.distillation.teachers)
        data = SearchData(prepared, teachers)
        report = search(data, whole, SearchPlaces(places.work / "tuning", places.work / "features"), nested_run)
    log_report(report, "tuning")
    mlflow.log_text(report.yaml(), "tuning/best.yaml")
    return report, places.write_report("best.yaml", report.yaml())


@contextmanager
def nested_run(number: int, values: dict[str, Any]) -> Iterator[Callable[[int, Mapping[str, float]], object]]:
    """Open a run under the step's own for one trial; a trial that was pruned or failed ends it as killed or failed."""
    mlflow.start_run(nested=True, run_name=f"trial {number}")
    ended = RunStatus.FAILED
    try:
        mlflow.log_params(flatten(values))
        yield lambda epoch, metrics: mlflow.log_metrics(dict(metrics), step=epoch)
        ended = RunStatus.FINISHED
    except TrialPruned:
        ended = RunStatus.KILLED
        raise
    finally:
        mlflow.set_tag("trial_state", {RunStatus.FINISHED: "complete", RunStatus.KILLED: "pruned"}.get(ended, "failed"))
        mlflow.end_run(RunStatus.to_string(ended))
