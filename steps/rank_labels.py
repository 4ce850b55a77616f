"""Step rank_labels: find the doubtful labels by all folds' answers, and write their table and page."""

from typing import Annotated

import mlflow
import pandas as pd
from zenml import step

from materializers.report_materializer import ReportMaterializer
from stack.run_log import log_report, measured
from stack.step_places import StepPlaces
from vision.data.faces import FaceSet
from vision.evaluation.label_audit import LabelAuditReport, audit_labels, review_page, write_table
from vision.training.out_of_fold import join_answers


@step(experiment_tracker=True, enable_cache=False, output_materializers={"label_audit": ReportMaterializer})
def rank_labels(
    prepared: FaceSet, answers: list[pd.DataFrame], places: StepPlaces
) -> tuple[
    Annotated[LabelAuditReport, "label_audit"],
    Annotated[pd.DataFrame, "doubtful_labels"],
    Annotated[dict[str, str], "files"],
]:
    """Rank the doubtful labels; the table and the page to go through are in the run's reports and in MLflow."""
    with measured():
        report, table = audit_labels(prepared, join_answers(answers), len(answers))
        page = review_page(report, table, prepared)
    texts = {"doubtful_labels.csv": write_table(table), "doubtful_labels.html": page}
    log_report(report, "audit")
    for name, text in texts.items():
        mlflow.log_text(text, f"audit/{name}")
    files = {name: places.write_report(name, text) for name, text in texts.items()}
    return report, table, files
