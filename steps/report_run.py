"""Step report_run."""

from typing import Annotated, Any

import mlflow
from zenml import step
from zenml.client import Client
from zenml.steps import get_step_context

from configs.loading import flatten
from stack.run_log import log_report, report_folder, run_id
from vision.data.balance import BalanceReport
from vision.data.faces import SPLITS, UNASSIGNED
from vision.data.preprocessing import PreprocessingReport
from vision.data.validation import ValidationReport
from vision.evaluation.evaluation import EvaluationReport
from vision.lifecycle.gate import Decision
from vision.reporting.pages import render_page
from vision.training.augmentation import AugmentationReport
from vision.training.history import TrainingHistory

DATA_STEPS = ("ingest_data", "validate_data", "analyze_balance", "preprocess_data", "preview_augmentation")


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
    settings: dict[str, Any],
    tags: dict[str, str],
    reports_folder: str,
) -> Annotated[dict[str, str], "summary"]:
    """Gather the run in one self-contained HTML page, log it to MLflow, and return the last lines of the run."""
    log_report(balance, "balance")
    log_report(preprocessing, "preprocessing")
    log_report(augmentation, "augmentation")
    resources = used_resources()
    data = [row for row in resources if row["step"] in DATA_STEPS]
    totals = {
        "data_seconds": sum(row["seconds"] for row in data),
        "data_peak_memory_mb": max((row["peak_memory_mb"] for row in data), default=0.0),
    }
    mlflow.log_metrics(totals)
    run = mlflow.get_run(run_id())
    scores = evaluation.scores["test"]
    averaged = {}
    if evaluation.views != "none":
        views = evaluation.views.replace("_", "-")
        averaged[f"  with {views}"] = f"{evaluation.scores['test_tta']['accuracy']:.2%}"
    headline = {
        "test accuracy": f"{scores['accuracy']:.2%}",
        **averaged,
        "test macro-F1": f"{scores['macro_f1']:.2%}",
        "worst class recall": f"{scores['worst_class_recall']:.2%}",
        "expected calibration error": f"{scores['expected_calibration_error']:.4f}",
        "best validation accuracy": f"{history.best['val_accuracy']:.2%}",
    }
    page = render_page(
        "run.html.j2",
        title=f"Face-emotion training run {run.info.run_name}",
        drawn=settings["dataset"]["reader"] == "drawn",
        splits=[
            split for split in (*SPLITS, UNASSIGNED) if any(split in rule.remaining for rule in preprocessing.rules)
        ],
        about={"MLflow run": run.info.run_id, "model": model_uri, **tags},
        headline=headline,
        validation=validation,
        balance=balance,
        preprocessing=preprocessing,
        augmentation=augmentation,
        history=history,
        temperature=run.data.metrics["temperature"],
        evaluation=evaluation,
        decision=decision,
        resources=resources,
        settings=flatten(settings),
        **totals,
    )
    folder = report_folder(reports_folder)
    (folder / "report.html").write_text(page, encoding="utf-8")
    mlflow.log_artifact(str(folder / "report.html"))
    described = " · ".join(f"{name} **{value}**" for name, value in headline.items())
    mlflow.set_tag("mlflow.note.content", f"{described}\n\nEverything on one page: artifact `report.html`.")
    where = {"MLflow run": run.info.run_id, "model": model_uri, "report": str(folder / "report.html")}
    return {**where, **headline, decision.outcome: "; ".join(decision.reasons)}


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
