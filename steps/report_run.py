"""Step report_run: gather the run on one page and in its last lines."""

from typing import Annotated, Any

import mlflow
from zenml import step
from zenml.client import Client
from zenml.steps import get_step_context

from stack.run_log import log_report, report_folder, run_id
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
) -> Annotated[dict[str, str], "summary"]:
    """Gather the run in one self-contained HTML page, log it to MLflow, and return the last lines of the run."""
    for name, report in {"balance": balance, "preprocessing": preprocessing, "augmentation": augmentation}.items():
        log_report(report, name)
    run = mlflow.get_run(run_id())
    context = RunContext(run.info.run_name, run.info.run_id, model_uri, request, used_resources())
    calibrated = run.data.tags["calibration"], run.data.metrics["temperature"]
    facts = TrainingFacts(validation, balance, preprocessing, history, evaluation, *calibrated)
    mlflow.log_metrics(context.totals)
    mlflow.set_tag("mlflow.note.content", note(facts))
    page = report_folder(request.settings["tracking"]["reports_folder"]) / "report.html"
    page.write_text(run_page(facts, augmentation, decision, context), encoding="utf-8")
    mlflow.log_artifact(str(page))
    return last_lines(facts, decision, context, str(page))


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
