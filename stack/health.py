"""The stores of ZenML and MLflow, looked at from outside: nothing here makes or changes a file."""

import logging
import os
import shlex
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from click import get_app_dir

from configs.environment import changed_environment, shown_address
from configs.errors import UserError
from configs.settings import Settings
from stack.databases import LOCK_SECONDS, copy_database, count_changes, database_trouble, has_tables, sqlite_path
from stack.findings import Finding, Status, one_line
from stack.inherited import check_registry
from stack.local_stack import STACK, tracking_uri
from stack.places import local_path
from stack.relocation import check_place
from stack.servers import NETWORK_SECONDS, why_silent
from stack.users_zenml import OWN_ZENML, asking, wants_users_zenml, way_back

if TYPE_CHECKING:
    from mlflow.entities import Experiment

logger = logging.getLogger(__name__)

BRIEFLY = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(NETWORK_SECONDS), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
REINSTALL = "make --always-make setup"  # plain `make setup` trusts that an environment once made is unchanged
ZENML, STORE, ARTIFACTS = "ZenML stack", "MLflow store", "MLflow artifacts"


class OtherSchemaError(Exception):
    """MLflow refuses a store, or would change its tables."""


@dataclass(frozen=True)
class Store:
    """What was found of an MLflow store, and the URI where its experiment keeps artifacts, where that is known."""

    finding: Finding
    artifacts: str | None = None


def check_stores(settings: Settings) -> None:
    """Raise UserError for stores of another place, and for a database that is damaged or stays locked.

    ZenML and MLflow would try for minutes.
    """
    state = settings.state_folder
    check_place(state)
    uri = "" if wants_users_zenml(state) else tracking_uri(state)
    if uri:
        check_registry(uri)
    deadline, said = time.monotonic() + LOCK_SECONDS, False
    while True:
        found = check_zenml(state)
        if found.is_ok and not uri.startswith("http"):
            found = check_store(uri, settings.tracking.experiment_name)
        if found.is_ok:
            return
        if found.status is not Status.LOCKED or time.monotonic() > deadline:
            raise UserError(f"{found.found}; {found.fix}")
        if not said:
            logger.warning("%s; waiting up to %.0f s for it", found.found, LOCK_SECONDS)
            said = True
        time.sleep(0.5)


def check_folder(subject: str, folder: Path, fix: str) -> Finding:
    """Say whether a folder can be written, or made; nothing is written to find out."""
    above = nearest(folder)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Finding.wrong(subject, f"{folder} cannot be written", fix)
    return Finding(subject, str(folder) if above == folder else f"{folder}, which the first run makes")


def nearest(path: Path) -> Path:
    """Return the path, or the nearest above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))


def check_zenml(state: Path) -> Finding:
    """Look at the ZenML store that a run would use, without opening ZenML, which would make or migrate it."""
    users = wants_users_zenml(state)
    folder = Path(os.environ.get("ZENML_CONFIG_PATH") or get_app_dir("zenml")) if users else state / OWN_ZENML
    config = folder / "config.yaml"
    try:
        known = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}) if config.is_file() else {}
        url = (os.environ.get("ZENML_STORE_URL") if users else None) or known.get("store", {}).get("url", "")
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        fix = f"mv {config} {config}.damaged; the next run makes a new one"
        return Finding.wrong(ZENML, f"{config} is damaged: {error}", fix)
    if url.startswith("http"):
        if silence := why_silent(url):
            return Finding.wrong(ZENML, silence, "start that ZenML server, or leave it with `zenml logout`")
        return Finding(ZENML, f"that of the ZenML server {shown_address(url)}, which answers")
    file = sqlite_path(url or f"sqlite:///{folder / 'local_stores' / 'default_zen_store' / 'zenml.db'}")
    if file is None:
        return Finding(ZENML, f"that of the ZenML store {shown_address(url)}, which only a run opens")
    return _check_zenml_file(file, folder, users)


def _check_zenml_file(file: Path, folder: Path, users: bool) -> Finding:
    if not file.exists():
        if not users:
            return Finding(ZENML, f"{STACK}, which the first run makes in {folder}")
        fix = f"register a stack with an MLflow tracker there, or {way_back()}: this project sets up its own"
        return Finding.wrong(ZENML, f"{asking()} asks for a ZenML store of yours, and {file} does not exist", fix)
    anew = f"mv {file} {file}.damaged; ZenML makes a new one (its cache starts anew, MLflow keeps runs and models)"
    return database_trouble(ZENML, file, anew) or Finding(
        ZENML, f"{'your active stack' if users else STACK}, in {file}"
    )


def check_store(uri: str, experiment: str) -> Finding:
    """Look at the MLflow store: whether it is there, whole, free to be written and opened by the installed MLflow."""
    return look_at_store(uri, experiment).finding


def look_at_store(uri: str, experiment: str) -> Store:
    """Look at the MLflow store as `check_store` does; an empty URI means that of the user's own ZenML stack."""
    if uri.startswith("http"):
        return Store(_check_tracking_server(uri, experiment))
    path = sqlite_path(uri)
    if path is not None:
        return _look_at_file(path, uri, experiment)
    if uri and not uri.startswith(("postgresql", "mysql", "mssql")):
        fix = "unset MLFLOW_TRACKING_URI, or set it to a server (http://…) or a database (sqlite:///…)"
        return Store(Finding.wrong(STORE, f"{shown_address(uri)} is neither a server nor a database", fix))
    return Store(Finding(STORE, f"{shown_address(uri) or 'where your ZenML stack says'}; only a run opens it"))


def _look_at_file(path: Path, uri: str, experiment: str) -> Store:
    if not os.path.exists(path):
        way_out = "set MLFLOW_TRACKING_URI or --state_folder to a place that can be written"
        return Store(check_folder(STORE, path, way_out))
    anew = (
        f"restore a backup of {path}, or mv {path} {path}.damaged: the next run makes a new store, and models kept "
        "with --pipeline export come back with --pipeline import"
    )
    if trouble := database_trouble(STORE, path, anew):
        return Store(trouble)
    if not has_tables(path):
        return Store(Finding(STORE, f"{path}, which is empty; the first run makes its tables"))
    try:
        found = _open_copy(path, experiment)
    except OtherSchemaError as error:
        upgrade = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", uri])
        fix = (
            f"after a backup of it: {upgrade}; if that fails, use the MLflow that wrote it ({REINSTALL} at that "
            "commit), or --state_folder FOLDER"
        )
        return Store(Finding.wrong(STORE, f"{path} is not a store of MLflow {version('mlflow')}: {error}", fix))
    except (OSError, sqlite3.Error) as error:
        fix = f"free some space in {tempfile.gettempdir()}, or set TMPDIR to a folder on another disk"
        return Store(Finding.wrong(STORE, f"no copy of {path} can be made to look at: {error}", fix))
    size = f"{path}, {path.stat().st_size / 1e6:,.1f} MB"
    return Store(_judge_experiment(found, size, experiment, uri), found.artifact_location if found else None)


def _open_copy(path: Path, experiment: str) -> "Experiment | None":
    """Have MLflow open a copy of its store, because opening may migrate it; return the experiment, if it is there.

    Raises OtherSchemaError where MLflow refuses the copy or changes its tables; OSError and sqlite3.Error where no
    copy can be made.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # MLflow keeps the file open
        copy = Path(folder, path.name)
        copy_database(path, copy)
        before = count_changes(copy)
        try:
            found = mlflow.MlflowClient(f"sqlite:///{copy}").get_experiment_by_name(experiment)
        except MlflowException as error:
            raise OtherSchemaError(one_line(str(error)).partition(". ")[0]) from error
        if count_changes(copy) != before:
            raise OtherSchemaError("to open it would change its tables")
    return found


def _judge_experiment(found: "Experiment | None", place: str, experiment: str, uri: str) -> Finding:
    if found is None:
        return Finding(STORE, f"{place}; the experiment {experiment} is made by the first run")
    if found.lifecycle_stage == "deleted":
        restore = [sys.executable, "-m", "mlflow", "experiments", "restore", "--experiment-id", found.experiment_id]
        setting = f"MLFLOW_TRACKING_URI={shlex.quote(shown_address(uri))}"
        fix = f"{setting} {shlex.join(restore)}, or set --tracking.experiment_name"
        return Finding.wrong(STORE, f"the experiment {experiment} was deleted", fix)
    return Finding(STORE, f"{place}, which has the experiment {experiment}")


def check_artifacts(uri: str, store: Store, experiment: str, state: Path) -> Finding:
    """Say where the experiment keeps models and figures, and whether that place is there and can be written."""
    if sqlite_path(uri) is None:
        return Finding(ARTIFACTS, "where the MLflow store says")
    ours = str(state / "mlflow" / "artifacts")
    named = store.artifacts or ours
    place = local_path(named)
    if place is None:
        return Finding(ARTIFACTS, shown_address(named))
    if str(place) != ours and not os.path.exists(place):
        found = f"{place}, where the experiment {experiment} keeps them, is gone; was the project moved?"
        return Finding.wrong(ARTIFACTS, found, "move the project back, or start a new store with --state_folder FOLDER")
    fix = f"chmod u+rwx {nearest(place)}, or start a new store with --state_folder FOLDER"
    return check_folder(ARTIFACTS, place, fix)


def _check_tracking_server(uri: str, experiment: str) -> Finding:
    """Ask an MLflow server for the experiment, without MLflow's own minutes of repetition."""
    if silence := why_silent(uri):
        return Finding.wrong(
            STORE, silence, "start that MLflow server, or unset MLFLOW_TRACKING_URI to track to a file"
        )
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        with changed_environment(BRIEFLY):
            found = mlflow.MlflowClient(uri).get_experiment_by_name(experiment)
    except MlflowException as error:
        fix = (
            "set MLFLOW_TRACKING_URI to an MLflow server, and if it asks who you are, MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
        return Finding.wrong(STORE, f"{shown_address(uri)} answers, but not as MLflow does: {str(error)[:200]}", fix)
    return _judge_experiment(found, shown_address(uri), experiment, uri)
