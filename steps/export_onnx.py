"""Step export_onnx."""

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
import numpy as np
from zenml import step

from configs.settings import OnnxSettings
from materializers.report_materializer import ReportMaterializer
from stack import model_store
from stack.run_log import log_report, measured
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle.onnx_export import OnnxReport, export_classifier, reason_to_skip

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
    training, validation = prepared.rows(TRAIN), prepared.rows(VALIDATION)
    chosen = np.sort(np.random.default_rng(seed).permutation(training)[: onnx.calibration_faces])
    with measured(), tempfile.TemporaryDirectory() as temporary:
        report = export_classifier(
            model.classifier,
            model.megabytes,
            prepared.images[chosen],
            prepared.images[validation],
            prepared.labels[validation],
            onnx,
            Path(temporary),
        )
        mlflow.log_artifacts(temporary, model_store.ONNX)
    log_report(report, model_store.ONNX)
    for runtime in report.runtimes:
        logger.info("%s: %s", runtime.runtime, runtime)
    if report.rejected:
        logger.warning("the int8 file is not kept: %s", report.rejected)
    return report
