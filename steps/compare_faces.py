"""Step compare_faces: measure how far predicted faces are from those that the model was trained on."""

from typing import Annotated

import mlflow
from zenml import step

from configs.lifecycle_settings import MonitoringSettings
from materializers.report_materializer import ReportMaterializer
from stack import model_store, registry
from stack.run_log import log_report
from stack.step_places import StepPlaces
from vision.inference.finished import SUCCESS, TABLE, read_finished
from vision.lifecycle.drift import PROPERTIES, DriftReport, measure_drift


@step(experiment_tracker=True, enable_cache=False, output_materializers={"drift_report": ReportMaterializer})
def compare_faces(
    predictions_folder: str, model_uri: str, monitoring: MonitoringSettings, places: StepPlaces
) -> tuple[Annotated[DriftReport, "drift_report"], Annotated[str, "page"]]:
    """Compare the predicted faces with what the model was trained on."""
    reference = model_store.load_reference(registry.find_version(model_uri))
    table, mark = (places.find_predictions(predictions_folder, name) for name in (TABLE, SUCCESS))
    predictions = read_finished(table, mark).to_pandas()
    faces = predictions[predictions["face"] >= 0].drop(columns="emotion").rename(columns={"most_likely": "emotion"})
    report = measure_drift(reference, faces[list(PROPERTIES)], monitoring)
    log_report(report, "drift")
    mlflow.set_tag("drifted", ", ".join(report.drifted_properties) or "nothing")
    return report, places.write_report("drift.html", report.page())
