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
from configs.errors import UserError
from configs.settings import Settings
from stack.error_messages import reason_of
from stack.local_stack import find_tracking_uri
from stack.step_places import BUNDLE, PREDICTIONS, REPORTS
from vision.files.hashes import hash_file

logger = logging.getLogger(__name__)

SENT = "sent"  # folder in the artifact store


def fetch_files(run: Any, settings: Settings) -> list[str]:
    """Copy what the steps of a pipeline run logged for the client into the folders that its settings name.

    What cannot be copied is logged, and stays in MLflow. Reports do not change the outcome of the run; return a
    sentence for each of the others, which the run was for.
    """
    noted = [step.run_metadata.get("mlflow_run_id") for step in run.steps.values()]
    run_id = next((str(known) for known in noted if known), None)
    if run_id is None:  # no step came as far as MLflow
        return []
    folders = {
        REPORTS: settings.tracking.reports_folder / run_id,
        PREDICTIONS: settings.inference.output,
        BUNDLE: settings.bundle.path.parent,
    }
    uri = find_tracking_uri(settings.state_folder)
    missing = []
    for artifacts, folder in folders.items():
        try:
            _fetch(run_id, artifacts, folder, uri)
        except Exception as error:  # noqa: BLE001 - MLflow, its store and the disk each raise their own
            reason = reason_of(error)
            said = f"{artifacts} of the MLflow run {run_id} is not copied to {folder}: {reason}"
            logger.warning("%s", said)
            if artifacts != REPORTS:
                missing.append(said)
    return missing


def _fetch(run_id: str, artifacts: str, folder: Path, uri: str) -> None:
    if not mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path=artifacts, tracking_uri=uri):
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=artifacts, dst_path=temporary, tracking_uri=uri
        )
        shutil.copytree(copy, folder, dirs_exist_ok=True)


def send_file(path: Path) -> str:
    """Copy a file into the active stack's artifact store and return where it is there; equal files are sent once.

    One that is there in part, since the command was stopped while it copied, is sent again.
    """
    place = f"{Client().active_stack.artifact_store.path}/{SENT}/{hash_file(path)}-{path.name}"
    if not fileio.exists(place) or fileio.size(place) != path.stat().st_size:
        fileio.makedirs(place.rpartition("/")[0])
        fileio.copy(str(path), place, overwrite=True)
    return place


def send_verdicts(preprocessing: PreprocessingSettings) -> str:
    """Send the file that `preprocessing.relabel` names, so that its content is part of the step's cache key.

    Return where it is, or "" where the setting names none.
    """
    return send_file(preprocessing.relabel) if preprocessing.relabel else ""


def receive_file(place: str, folder: Path) -> Path:
    """Return a copy of what `send_file` sent, under its own name in a folder. Raises UserError if it is not whole."""
    sent, _, name = place.rpartition("/")[2].partition("-")
    file = folder / name
    fileio.copy(place, str(file), overwrite=True)
    if hash_file(file) != sent:
        raise UserError(f"{place} is not what was sent; delete it, and run the command again")
    return file
