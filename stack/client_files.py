"""The client's files where steps run elsewhere: what it gets from the run's artifacts, and what it sends to steps."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from zenml.client import Client
from zenml.io import fileio

from configs.data_settings import PreprocessingSettings
from configs.settings import Settings
from stack.error_messages import SHOWN_CHARACTERS
from stack.local_stack import find_tracking_uri
from stack.step_places import BUNDLE, PREDICTIONS, REPORTS
from vision.files.hashes import hash_file

logger = logging.getLogger(__name__)

SENT = "sent"  # folder in the artifact store


def fetch_files(run: Any, settings: Settings) -> None:
    """Copy what the steps of a pipeline run logged for the client into the folders that its settings name.

    What cannot be copied is logged, and stays in MLflow: the outcome of the run is not changed by that.
    """
    noted = [step.run_metadata.get("mlflow_run_id") for step in run.steps.values()]
    run_id = next((str(known) for known in noted if known), None)
    if run_id is None:  # no step came as far as MLflow
        return
    folders = {
        REPORTS: settings.tracking.reports_folder / run_id,
        PREDICTIONS: settings.inference.output,
        BUNDLE: settings.bundle.path.parent,
    }
    uri = find_tracking_uri(settings.state_folder)
    for artifacts, folder in folders.items():
        try:
            _fetch(run_id, artifacts, folder, uri)
        except Exception as error:  # noqa: BLE001 - MLflow, its store and the disk each raise their own
            reason = " ".join(str(error).split())[:SHOWN_CHARACTERS]
            logger.warning("%s of the MLflow run %s is not copied to %s: %s", artifacts, run_id, folder, reason)


def _fetch(run_id: str, artifacts: str, folder: Path, uri: str) -> None:
    if not mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path=artifacts, tracking_uri=uri):
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=artifacts, dst_path=temporary, tracking_uri=uri
        )
        shutil.copytree(copy, folder, dirs_exist_ok=True)


def send_file(path: Path) -> str:
    """Copy a file into the active stack's artifact store and return where it is there; equal files are sent once."""
    place = f"{Client().active_stack.artifact_store.path}/{SENT}/{hash_file(path)}-{path.name}"
    if not fileio.exists(place):
        fileio.makedirs(place.rpartition("/")[0])
        fileio.copy(str(path), place)
    return place


def send_verdicts(preprocessing: PreprocessingSettings) -> str:
    """Send the file that `preprocessing.relabel` names, so that its content is part of the step's cache key.

    Return where it is, or "" where the setting names none.
    """
    return send_file(preprocessing.relabel) if preprocessing.relabel else ""


def receive_file(place: str, folder: Path) -> Path:
    """Return a copy of what `send_file` sent, under its own name in a folder."""
    file = folder / place.rpartition("/")[2].partition("-")[2]
    fileio.copy(place, str(file), overwrite=True)
    return file
