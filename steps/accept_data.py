"""Step accept_data: open the MLflow run, and stop it where the data failed a critical check."""

import logging
from typing import Any

import mlflow
from mlflow.data.pandas_dataset import from_pandas
from zenml import step

from configs.data_settings import PreprocessingSettings
from configs.errors import InvalidDataError
from configs.loading import KEPT_SETTINGS, flatten
from stack.run_log import log_report
from stack.step_places import StepPlaces
from vision.data.faces import FaceSet
from vision.data.preprocessing import why_not_learnable
from vision.data.validation import ValidationReport

logger = logging.getLogger(__name__)

SHOWN_REASONS = 3  # of a check, in its line of the log


@step(experiment_tracker=True, enable_cache=False)
def accept_data(
    faces: FaceSet, validation: ValidationReport, settings: dict[str, Any], tags: dict[str, str], places: StepPlaces
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
    for check in validation.checks:
        if check.failed:
            level = logging.INFO if check.passed else logging.WARNING
            said = f"{check.failed:,} of {check.checked:,} failed ({check.failed_share:.2%}; allowed: {check.allowed})"
            logger.log(level, "data check %s: %s: %s", check.check, said, "; ".join(check.found[:SHOWN_REASONS]))
    if validation.critical:
        page = places.write_report("validation.html", validation.page())
        raise InvalidDataError(
            f"{validation.dataset} failed {len(validation.critical)} critical data checks, so nothing was trained:\n"
            f"{validation.table(validation.critical)}\n{_advise(faces, validation, settings)}\n"
            f"The whole report: {page}"
        )


def _advise(faces: FaceSet, validation: ValidationReport, settings: dict[str, Any]) -> str:
    """Say how to train all the same, where that is possible."""
    # without changed labels: a step elsewhere does not have their file
    rules = PreprocessingSettings(**{**settings["preprocessing"], "relabel": None})
    if reason := why_not_learnable(faces, rules, settings["seed"]):
        return f"It cannot be trained on as it is, whatever the checks allow: {reason}"
    options = " ".join(f"--validation.{check.check}.severity warning" for check in validation.critical)
    return f"To train all the same, without the images that cannot be used: {options}"
