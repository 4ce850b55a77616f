"""The stores of MLflow and ZenML, looked at from outside: nothing here makes or changes a file."""

import base64
import contextlib
import importlib.util
import json
import os
import shlex
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import url2pathname
from uuid import UUID

import yaml
from click import get_app_dir

from configs.environment import changed_environment
from configs.errors import UserError
from stack.local_stack import OWN_ZENML, STACK, check_server, has_users_zenml, shown_address, tracking_uri

NETWORK_SECONDS = 4
BRIEFLY = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(NETWORK_SECONDS), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
DATABASE_SECONDS = 2
REINSTALL = "make --always-make setup"  # plain `make setup` trusts that an environment once made is unchanged
ACTIVE_STACK = """
SELECT stack.name, tracker.flavor, tracker.configuration FROM stack
LEFT JOIN (SELECT * FROM stack_composition JOIN stack_component ON stack_component.id = component_id
           WHERE type = 'experiment_tracker') AS tracker ON tracker.stack_id = stack.id
WHERE stack.id = ? OR stack.name = ?
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, and the command or setting that mends it; `fix` is empty where all is well."""

    subject: str
    found: str
    fix: str = ""


def one_line(text: str) -> str:
    """Return text without line breaks and without characters that would steer a terminal."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite store, or None where the URI means another kind."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def check_folder(subject: str, folder: Path, fix: str) -> Finding:
    """Say whether a folder can be written, or made; nothing is written to find out."""
    above = nearest(folder)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        return Finding(subject, f"{folder} cannot be written", fix)
    return Finding(subject, str(folder) if above == folder else f"{folder}, which the first run makes")


def nearest(path: Path) -> Path:
    """Return the path, or the nearest above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if os.path.exists(place))


def check_stack(state: Path) -> tuple[Finding, str]:
    """Return the stack that a run would use and the URI that it tracks to, read without opening ZenML.

    The URI is empty where only ZenML itself knows it. Opening ZenML would make or migrate its store.
    """
    own, given = state / OWN_ZENML, os.environ.get("ZENML_CONFIG_PATH")
    users = has_users_zenml() and given != str(own)
    folder = Path(given or get_app_dir("zenml")) if users else own
    config, uri = folder / "config.yaml", tracking_uri(state)
    to_be_made = Finding("ZenML stack", f"{STACK}, which the first run makes in {own}")
    try:
        known = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}) if config.is_file() else {}
        url = (os.environ.get("ZENML_STORE_URL") if users else None) or known.get("store", {}).get("url", "")
        active = (os.environ.get("ZENML_ACTIVE_STACK_ID") if users else None) or known.get("active_stack_id")
        stack_id = UUID(str(active)).hex if active else ""
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        found = f"{config} is damaged: {error}"
        return Finding("ZenML stack", found, f"mv {config} {config}.damaged; the next run makes a new one"), uri
    if url.startswith("http"):
        silence = why_silent(url)
        found = silence or f"that of the ZenML server {shown_address(url)}, which answers"
        fix = "start that ZenML server, or leave it with `zenml logout`" if silence else ""
        return Finding("ZenML stack", found, fix), os.environ.get("MLFLOW_TRACKING_URI", "")
    file = sqlite_path(url or f"sqlite:///{folder / 'local_stores' / 'default_zen_store' / 'zenml.db'}")
    if file is None:
        found = f"that of the ZenML store {shown_address(url)}, which only a run opens"
        return Finding("ZenML stack", found), os.environ.get("MLFLOW_TRACKING_URI", "")
    if not file.exists():
        return to_be_made, uri
    anew = f"mv {file} {file}.damaged; ZenML makes a new one (its cache starts anew, MLflow keeps runs and models)"
    if trouble := database_trouble("ZenML stack", file, anew):
        return trouble, uri
    try:
        with open_to_read(file) as database:
            name = os.environ.get("ZENML_ACTIVE_STACK_NAME", "") if users else STACK
            found_stacks = database.execute(ACTIVE_STACK, ("" if name else stack_id, name)).fetchall()
    except sqlite3.Error as error:
        return Finding("ZenML stack", f"{file} is none of this ZenML's: {error}", anew), uri
    if not found_stacks:
        return to_be_made, uri
    (name, flavor, configuration), *_ = found_stacks
    if not users:
        return Finding("ZenML stack", f"{name}, in {file}"), uri
    if flavor is None:
        return Finding("ZenML stack", f"{STACK}; your active stack {name} has no experiment tracker"), uri
    if flavor != "mlflow":
        fix = "zenml stack set NAME of a stack that tracks with MLflow, or of one without a tracker"
        return Finding("ZenML stack", f"your active stack {name} tracks with {flavor}, not with MLflow", fix), uri
    uri = json.loads(base64.b64decode(configuration)).get("tracking_uri") or ""
    place = shown_address(uri) or "a place of ZenML's choice"
    return Finding("ZenML stack", f"your active stack {name}, which tracks to {place}"), uri


def check_store(uri: str, experiment: str) -> Finding:
    """Look at the MLflow store: whether it is there, whole, of the installed MLflow's schema and free to be written."""
    subject = "MLflow store"
    if uri.startswith("http"):
        return _check_tracking_server(uri, experiment)
    path = sqlite_path(uri)
    if path is None:
        if uri and not uri.startswith(("postgresql", "mysql", "mssql")):
            fix = "unset MLFLOW_TRACKING_URI, or set it to a server (http://…) or a database (sqlite:///…)"
            return Finding(subject, f"{shown_address(uri)} is neither a server nor a database", fix)
        return Finding(subject, f"{shown_address(uri) or 'where the ZenML stack says'}; only a run opens it")
    if not os.path.exists(path):
        return check_folder(subject, path, "set MLFLOW_TRACKING_URI or --state_folder to a place that can be written")
    anew = (
        f"restore a backup of {path}, or mv {path} {path}.damaged: the next run makes a new store, and models kept "
        "with --pipeline export come back with --pipeline import"
    )
    if trouble := database_trouble(subject, path, anew):
        return trouble
    with open_to_read(path) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return Finding(subject, f"{path}, which is empty; the first run makes its tables")
        revisions = database.execute("SELECT * FROM alembic_version").fetchall() if "alembic_version" in tables else []
    revision = str(revisions[0][0]) if revisions else "none"
    if wrong := _wrong_schema(revision, uri, path):
        return Finding(subject, *wrong)
    found = f"{path}, {path.stat().st_size / 1e6:,.1f} MB, schema {revision}"
    of_runs = read_experiment(path, experiment)
    if of_runs is None:
        return Finding(subject, f"{found}; the experiment {experiment} is made by the first run")
    number, stage, _, runs = of_runs
    if stage == "deleted":
        return _deleted(experiment, number, uri)
    return Finding(subject, f"{found}; {runs} runs in the experiment {experiment}")


def check_artifacts(uri: str, experiment: str, state: Path) -> Finding:
    """Say where MLflow keeps models and figures, and whether that place is there and can be written."""
    subject, place, path = "MLflow artifacts", str(state / "mlflow" / "artifacts"), sqlite_path(uri)
    if path is None:
        return Finding(subject, "where the MLflow store says")
    recorded = None
    with contextlib.suppress(sqlite3.Error, OSError):  # of a store that is new, or that check_store complains of
        recorded = read_experiment(path, experiment)
    if recorded:
        place = url2pathname(urlsplit(recorded[2]).path) if recorded[2].startswith("file:") else recorded[2]
    if "://" in place:
        return Finding(subject, shown_address(place))
    if recorded and place != str(state / "mlflow" / "artifacts") and not os.path.exists(place):
        found = f"{place}, where the experiment {experiment} keeps them, is gone; was the project moved?"
        return Finding(subject, found, "move the project back, or start a new store with --state_folder FOLDER")
    fix = f"chmod u+rwx {nearest(Path(place))}, or start a new store with --state_folder FOLDER"
    return check_folder(subject, Path(place), fix)


def read_experiment(path: Path, name: str) -> tuple[str, str, str, int] | None:
    """Return number, life-cycle stage, artifact location and number of runs of an experiment, or None without it."""
    query = (
        "SELECT experiment_id, lifecycle_stage, artifact_location, (SELECT count(*) FROM runs "
        "WHERE runs.experiment_id = experiments.experiment_id AND runs.lifecycle_stage = 'active') "
        "FROM experiments WHERE name = ?"
    )
    with open_to_read(path) as database:
        found = database.execute(query, (name,)).fetchone()
    return (str(found[0]), found[1], found[2], found[3]) if found else None


@contextlib.contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file so that neither it nor a file beside it is made or changed."""
    with path.open("rb") as file:
        keeps_a_log = file.read(19)[18:] == b"\2"  # write-ahead logging, of which even a reader makes files
    unused = keeps_a_log and not os.path.exists(f"{path}-wal")
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if unused else ''}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=DATABASE_SECONDS)) as database:
        yield database


def database_trouble(subject: str, path: Path, if_damaged: str) -> Finding | None:
    """Return what keeps an SQLite file from being used, or None; a large file is looked through for a few seconds."""
    unreadable = Finding(subject, f"{path} cannot be read and written", f"chmod u+rw {path}")
    deadline = time.monotonic() + DATABASE_SECONDS
    try:
        with open_to_read(path) as database:
            database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            answer = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            return Finding(subject, f"{path} is damaged: {answer}", if_damaged)
        if not os.access(path, os.W_OK):
            return unreadable
        writing = sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=DATABASE_SECONDS)
        with contextlib.closing(writing) as database:
            if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                database.execute("BEGIN IMMEDIATE")  # asks for the right to write; without a change no file is touched
                database.execute("ROLLBACK")
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            fix = f"wait for the run that writes to it, or end the process that `fuser {path}` names"
            return Finding(subject, f"{path} is locked by another process", fix)
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_IOERR")):
            return unreadable
        if name.startswith(("SQLITE_INTERRUPT", "SQLITE_READONLY")):  # out of time; a write to be undone by the next
            return None
        return Finding(subject, f"{path} is damaged: {error}", if_damaged)
    except OSError:
        return unreadable
    return None


def why_silent(url: str) -> str:
    """Return why a server does not answer, or "" where it does; a silent name server is not waited for either."""
    reasons: list[str] = []

    def ask() -> None:
        try:
            check_server(url, NETWORK_SECONDS)
            reasons.append("")
        except UserError:
            reasons.append(f"no server answers at {shown_address(url)}")

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(NETWORK_SECONDS + 1)
    return reasons[0] if reasons else f"no answer came from {shown_address(url)} within {NETWORK_SECONDS} s"


def _check_tracking_server(uri: str, experiment: str) -> Finding:
    """Ask an MLflow server for the experiment, without MLflow's own minutes of repetition."""
    subject = "MLflow store"
    if silence := why_silent(uri):
        return Finding(subject, silence, "start that MLflow server, or unset MLFLOW_TRACKING_URI to track to a file")
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
        return Finding(subject, f"{shown_address(uri)} answers, but not as MLflow does: {str(error)[:200]}", fix)
    if found is None:
        return Finding(subject, f"{shown_address(uri)}; the experiment {experiment} is made by the first run")
    if found.lifecycle_stage == "deleted":
        return _deleted(experiment, found.experiment_id, uri)
    return Finding(subject, f"{shown_address(uri)}, which has the experiment {experiment}")


def _wrong_schema(revision: str, uri: str, path: Path) -> tuple[str, str] | None:
    """Return what is wrong with the schema of an MLflow store and what mends it, or None."""
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    specification = importlib.util.find_spec("mlflow")
    assert specification is not None  # this project is installed with MLflow
    assert specification.origin is not None
    script = ScriptDirectory(str(Path(specification.origin).parent / "store" / "db_migrations"))
    newest = script.get_current_head()
    if revision == newest:
        return None
    try:
        script.get_revision(revision)
    except CommandError:
        found = f"{path} has schema {revision}, which MLflow {version('mlflow')} does not know"
        return found, f"use the MLflow that wrote it ({REINSTALL} at that commit), or --state_folder FOLDER"
    upgrade = shlex.join([sys.executable, "-m", "mlflow", "db", "upgrade", uri])
    found = f"{path} has schema {revision}, MLflow {version('mlflow')} needs {newest}"
    return found, f"after a backup of it: {upgrade}"


def _deleted(experiment: str, number: str, uri: str) -> Finding:
    restore = shlex.join([sys.executable, "-m", "mlflow", "experiments", "restore", "--experiment-id", number])
    fix = f"MLFLOW_TRACKING_URI={shlex.quote(shown_address(uri))} {restore}, or set --tracking.experiment_name"
    return Finding("MLflow store", f"the experiment {experiment} was deleted", fix)
