"""Step export_onnx: write the registered model as ONNX files and measure them."""

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
from zenml import step

from configs.lifecycle_settings import OnnxSettings
from materializers.report_materializer import ReportMaterializer
from stack import model_store
from stack.run_log import log_report, measured
from vision.data.faces import FaceSet
from vision.lifecycle.onnx_export import OnnxReport, choose_faces, export_classifier, reason_to_skip

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False, output_materializers={"onnx_report": ReportMaterializer})
def export_onnx(
    prepared: FaceSet, model_uri: str, onnx: OnnxSettings, seed: int
) -> Annotated[OnnxReport, "onnx_report"]:
    """Write the registered model as ONNX files, check them against Keras, and log files and measurements to MLflow."""
    if reason := reason_to_skip(onnx):
        logger.info("no ONNX files: %s", reason)
        return OnnxReport(skipped=reason, runtimes=[], figures={})
    model = model_store.load_model(model_uri)
    faces = choose_faces(prepared, onnx.calibration_faces, seed)
    with measured(), tempfile.TemporaryDirectory() as temporary:
        report = export_classifier(model.classifier, model.megabytes, faces, onnx, Path(temporary))
        mlflow.log_artifacts(temporary, model_store.ONNX)
    log_report(report, model_store.ONNX)
    for runtime in report.runtimes:
        logger.info("%s: %s", runtime.runtime, runtime)
    if report.rejected:
        logger.warning("the int8 file is not kept: %s", report.rejected)
    return report
