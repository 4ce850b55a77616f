"""Step accept_data: open the MLflow run, and stop it where the data failed a critical check."""

import logging
from typing import Any

import mlflow
from mlflow.data.pandas_dataset import from_pandas
from zenml import step

from configs.errors import InvalidDataError
from configs.loading import KEPT_SETTINGS, flatten
from stack.run_log import log_report, report_folder
from vision.data.faces import FaceSet
from vision.data.validation import ValidationReport

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def accept_data(
    faces: FaceSet, validation: ValidationReport, settings: dict[str, Any], tags: dict[str, str], reports_folder: str
) -> None:
    """Open the MLflow run with settings, tags, lineage and the validation; stop where a critical check failed."""
    mlflow.set_tags({**tags, "dataset_form": faces.form, "data_fingerprint": faces.fingerprint})
    mlflow.log_params(flatten(settings))
    mlflow.log_dict(settings, KEPT_SETTINGS)
    dataset = settings["dataset"]
    source = {"drawn": "drawn", "kaggle": dataset["kaggle_name"]}.get(dataset["reader"], dataset["path"])
    lineage = from_pandas(faces.table, source=source, name=faces.name, digest=faces.fingerprint)
    mlflow.log_input(lineage, context="ingested")
    log_report(validation, "validation")
    for name, fact in faces.reading.items():
        logger.info("%s: %s", name, fact)
    for check in validation.warnings:
        logger.warning(
            "data check %s: %d of %d failed (%.2f%%)",
            check.check,
            check.failed,
            check.checked,
            100 * check.failed_share,
        )
    if validation.critical:
        page = report_folder(reports_folder) / "validation.html"
        page.write_text(validation.page(), encoding="utf-8")
        raise InvalidDataError(
            f"{validation.dataset} failed {len(validation.critical)} critical data checks, so nothing was trained:\n"
            f"{validation.table(validation.critical)}\n"
            f"Fix the data, or set validation.<check>.severity to warning. The whole report: {page}"
        )
