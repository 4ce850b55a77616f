"""Step report_run: gather the run on one page and in its last lines."""

from typing import Annotated, Any

import mlflow
from zenml import step
from zenml.client import Client
from zenml.steps import get_step_context

from stack.fingerprints import surroundings_of
from stack.run_log import log_report, run_id
from stack.step_places import StepPlaces
from vision.data.balance import BalanceReport
from vision.data.preprocessing import PreprocessingReport
from vision.data.validation import ValidationReport
from vision.evaluation.evaluation import EvaluationReport
from vision.lifecycle.decision import Decision
from vision.lifecycle.run_report import RunContext, RunRequest, last_lines, note, run_page
from vision.lifecycle.training_facts import TrainingFacts
from vision.training.augmentation import AugmentationReport
from vision.training.history import TrainingHistory


@step(experiment_tracker=True, enable_cache=False)
def report_run(
    validation: ValidationReport,
    balance: BalanceReport,
    preprocessing: PreprocessingReport,
    augmentation: AugmentationReport,
    history: TrainingHistory,
    evaluation: EvaluationReport,
    decision: Decision,
    model_uri: str,
    request: RunRequest,
    places: StepPlaces,
) -> Annotated[dict[str, str], "summary"]:
    """Gather the run in one self-contained HTML page, log it to MLflow, and return the last lines of the run."""
    for name, report in {"balance": balance, "preprocessing": preprocessing, "augmentation": augmentation}.items():
        log_report(report, name)
    run = mlflow.get_run(run_id())
    request = request.model_copy(update={"tags": {**request.tags, **surroundings_of(run.data.tags)}})
    context = RunContext(run.info.run_name, run.info.run_id, model_uri, request, used_resources())
    calibrated = run.data.tags["calibration"], run.data.metrics["temperature"]
    facts = TrainingFacts(validation, balance, preprocessing, history, evaluation, *calibrated)
    mlflow.log_metrics(context.totals)
    if preprocessing.relabelling:
        mlflow.set_tag("relabelled", f"{preprocessing.relabelling.file}: {preprocessing.relabelling}")
    mlflow.set_tag("mlflow.note.content", note(facts))
    page = run_page(facts, augmentation, decision, context)
    mlflow.log_text(page, "report.html")
    return last_lines(facts, decision, context, places.write_report("report.html", page))


def used_resources() -> list[dict[str, Any]]:
    """Return what each earlier step of this pipeline run noted: step, seconds, peak_memory_mb and cached."""
    context = get_step_context()
    steps = Client().get_pipeline_run(context.pipeline_run.id).steps
    return [
        {
            "step": name,
            "cached": run.status.value == "cached",
            **{k: run.run_metadata[k] for k in ("seconds", "peak_memory_mb")},
        }
        for name, run in steps.items()
        if "seconds" in run.run_metadata
    ]
