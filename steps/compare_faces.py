"""Step compare_faces: measure how far predicted faces are from those that the model was trained on."""

from pathlib import Path
from typing import Annotated

import mlflow
from zenml import step

from configs.settings import MonitoringSettings
from materializers.report_materializer import ReportMaterializer
from stack import model_store, registry
from stack.run_log import log_report, report_folder
from vision.inference.finished import read_finished
from vision.lifecycle.drift import PROPERTIES, DriftReport, measure_drift


@step(experiment_tracker=True, enable_cache=False, output_materializers={"drift_report": ReportMaterializer})
def compare_faces(
    predictions_folder: str, model_uri: str, monitoring: MonitoringSettings, reports_folder: str
) -> tuple[Annotated[DriftReport, "drift_report"], Annotated[str, "page"]]:
    """Compare the predicted faces with what the model was trained on."""
    reference = model_store.load_reference(registry.find_version(model_uri))
    predictions = read_finished(Path(predictions_folder)).to_pandas()
    faces = predictions[predictions["face"] >= 0].drop(columns="emotion").rename(columns={"most_likely": "emotion"})
    report = measure_drift(reference, faces[list(PROPERTIES)], monitoring)
    log_report(report, "drift")
    mlflow.set_tag("drifted", ", ".join(report.drifted_properties) or "nothing")
    page = report_folder(reports_folder) / "drift.html"
    page.write_text(report.page(), encoding="utf-8")
    return report, str(page)
