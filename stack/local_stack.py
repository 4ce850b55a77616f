"""Where pipelines run: a local ZenML stack that sets itself up, and the MLflow store that it tracks to."""

import atexit
import contextlib
import functools
import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import sys
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from configs.environment import shown_address
from configs.errors import UserError
from stack.artifact_store import NAME as STORE_NAME
from stack.artifact_store import Place, check_store
from stack.error_messages import talking_to_mlflow
from stack.servers import check_server
from stack.users_zenml import OWN_ZENML, check_complete, open_users_stack, wants_users_zenml
from vision.files.locks import InUseError, hold_lock, wait_for_lock
from vision.files.remote import FETCHED

logger = logging.getLogger(__name__)

STACK, TRACKER = "face_emotion", "face_emotion_tracker"
# TensorFlow uses oneDNN by itself only on processors with AVX-512 VNNI, BF16 or AMX; elsewhere Eigen, which trains half
# as fast with AVX2 (benchmarks/RESULTS.md, "Training speed by way of computing")
CONVOLUTIONS = {"TF_ENABLE_ONEDNN_OPTS": "1"} if platform.machine() in ("x86_64", "AMD64") else {}
PLACE_CHARACTERS = 158  # a run's place, which adds 42, has 200 in MLflow's tables, which SQLite does not enforce
NO_MIGRATION = "DISABLE_DATABASE_MIGRATION"  # ZenML's switch; without it ZenML migrates a store that it opens


@dataclass(frozen=True)
class Tracking:
    """The MLflow store and the artifact store of the active stack."""

    uri: str
    stack: str
    artifacts: str = ""  # the path of the artifact store, if it is not on this machine

    @property
    def shown(self) -> str:
        """The store's address without a login."""
        return shown_address(self.uri)

    @property
    def ui_command(self) -> str:
        """The command that opens the MLflow UI, or the server's address."""
        if self.shown.startswith("http"):
            return self.shown
        line = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", self.shown, "--host", "127.0.0.1"]
        return shlex.join(line)


def check_writable(setting: str, folder: Path) -> None:
    """Make the folder. Raises UserError that names the setting where nothing can be written there."""
    if setting == "state_folder" and ("?" in str(folder) or unquote(str(folder)) != str(folder)):
        raise UserError(
            f"state_folder {folder} contains ?, at which the address of a database ends, or a % code, which MLflow "
            "decodes; move the project, or set --state_folder to a folder without it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{setting} {folder} cannot be written ({error.strerror}); set it to a folder that can"
        ) from error


def tracking_uri(state: Path) -> str:
    """Return where our own stack tracks to: what the environment names, or the store in the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{state / 'mlflow' / 'mlflow.db'}"


def keep_login() -> None:
    """Move user and password out of a server's address in MLFLOW_TRACKING_URI, to where MLflow looks for them too.

    In the address they would stand in MLflow's own messages. Raises UserError for a user without a password.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return
    if not (parts.username and parts.password):
        raise UserError(
            f"MLFLOW_TRACKING_URI {shown_address(uri)} names a user without a password; give both, or set "
            "MLFLOW_TRACKING_TOKEN"
        )
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    os.environ["MLFLOW_TRACKING_URI"] = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def library_defaults(debug: bool = False) -> dict[str, str]:
    """Return what ZenML, MLflow, Great Expectations and TensorFlow shall read when they are imported: no telemetry and,
    without `debug`, only this project's own messages on the console.
    """
    return {
        "ZENML_ANALYTICS_OPT_IN": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "ZENML_LOGGING_VERBOSITY": "INFO" if debug else "CRITICAL",  # ZenML logs a step's stack trace as ERROR
        "ZENML_ENABLE_RICH_TRACEBACK": "false",
        "ZENML_LOGGING_COLORS_DISABLED": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "true" if debug else "false",
        "MLFLOW_LOGGING_LEVEL": "INFO" if debug else "CRITICAL",  # it logs as ERROR what it raises
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "5",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # 14 s of waiting; MLflow's own 7 make four minutes of each request
        "TF_CPP_MIN_LOG_LEVEL": "0" if debug else "3",
        **CONVOLUTIONS,
    }


def quiet_libraries(debug: bool) -> None:
    """Set in the environment what `library_defaults` returns and it does not say yet."""
    for name, value in library_defaults(debug).items():
        os.environ.setdefault(name, value)
    os.environ["MPLBACKEND"] = "Agg"  # figures go to files; a notebook's own backend is not installed here


def temporary_folder(state: Path) -> Path:
    """Make a folder that goes with this process, and remove those of processes that were killed.

    MLflow leaves what it downloads from a server in there, a model at a time.
    """
    root = state / "temporary"
    root.mkdir(exist_ok=True)
    for lock in root.glob("*.lock"):
        with contextlib.suppress(InUseError), hold_lock(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    lock = Path(f"{folder}.lock")
    ending = contextlib.ExitStack()
    ending.enter_context(hold_lock(lock))
    ending.callback(lock.unlink, missing_ok=True)
    ending.callback(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(ending.close)
    return folder


def prepare_environment(project: Path, state: Path, debug: bool) -> None:
    """Set the environment that the libraries read when they are imported, with their files in the state folder."""
    os.environ |= {
        "TMPDIR": str(temporary_folder(state)),
        "ZENML_CUSTOM_SOURCE_ROOT": str(project),
        "KERAS_BACKEND": "tensorflow",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
        FETCHED: str(state / "fetched"),
    }
    quiet_libraries(debug)
    list_packages_once()
    choose_zenml(state)


def choose_zenml(state: Path) -> None:
    """Have ZenML use our own store in the state folder, or the user's where the environment asks for it."""
    if wants_users_zenml(state):
        os.environ[NO_MIGRATION] = "true"
    else:
        os.environ["ZENML_CONFIG_PATH"] = str(state / OWN_ZENML)


def list_packages_once() -> None:
    """Have the map of installed packages made once: ZenML makes it for each type of artifact, in a second, and MLflow
    for each model, with the backport of the same function.
    """
    import importlib_metadata  # MLflow's

    make_map = importlib.metadata.packages_distributions
    remembered = functools.cache(make_map)
    for module in (importlib.metadata, importlib_metadata):
        setattr(module, make_map.__name__, lambda: dict(remembered()))


def start_lock(state: Path) -> AbstractContextManager[None]:
    """Return the lock under which a run imports ZenML and prepares the stack.

    Runs that start together wait for each other, so that one of them makes the stores that are missing.
    """
    return wait_for_lock(state / "start.lock")


def prepare_stack(state: Path, experiment: str, artifacts: str | None = None) -> Tracking:
    """Activate our own ZenML stack, made at the first run, or use the user's where the environment asks for it.

    `artifacts` is what `stores.artifacts` says. The environment must be as `prepare_environment` sets it before
    anything imports ZenML.
    """
    if wants_users_zenml(state):
        stack = open_users_stack()
        check_complete(stack)
        check_store(stack.artifact_store, f"of your stack {stack.name}")
        if artifacts:
            logger.warning(
                "stores.artifacts %s is not used: your stack %s has a store of its own", artifacts, stack.name
            )
        return _tracking_of(stack)
    from zenml.client import Client

    uri, place = tracking_uri(state), Place.of(artifacts, state)
    try:
        stack = _activate_stack(Client(), uri, place)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"MLFLOW_TRACKING_URI {shown_address(uri)} is refused by ZenML: {reason}") from error
    if uri.startswith("http"):
        check_server(uri)
    else:
        ensure_experiment(
            uri, experiment, place.for_mlflow if place.is_remote else (state / "mlflow" / "artifacts").as_uri()
        )
    check_store(stack.artifact_store)
    return _tracking_of(stack)


def find_tracking_uri(state: Path) -> str:
    """Return where a run would track to; only the user's own ZenML must be opened to know."""
    if not wants_users_zenml(state):
        return tracking_uri(state)
    os.environ[NO_MIGRATION] = "true"
    return _tracking_of(open_users_stack()).uri


def _tracking_of(stack: Any) -> Tracking:
    path = stack.artifact_store.path
    return Tracking(stack.experiment_tracker.get_tracking_uri(), stack.name, "" if os.path.isabs(path) else path)


def _activate_stack(client: Any, uri: str, place: Place) -> Any:
    """Register the stack and its parts where they are missing or changed. Raises ValueError for a wrong URI.

    Returns the stack. What is stored of the URI has no login; the key of a bucket stays in the environment.
    """
    from zenml.enums import StackComponentType as Kind

    from stack.tracker import ADDRESS, FLAVOR, EnvironmentTrackerFlavor

    os.environ[ADDRESS] = uri
    if not client.list_flavors(name=FLAVOR, type=Kind.EXPERIMENT_TRACKER).items:
        source = f"{EnvironmentTrackerFlavor.__module__}.{EnvironmentTrackerFlavor.__name__}"
        client.create_flavor(source, Kind.EXPERIMENT_TRACKER)
    name, store = f"{STACK}{place.suffix}", f"{STORE_NAME}{place.suffix}"
    _ensure_component(client, store, Kind.ARTIFACT_STORE, place.flavor, {"path": place.path})
    _ensure_component(client, TRACKER, Kind.EXPERIMENT_TRACKER, FLAVOR, {"tracking_uri": shown_address(uri)})
    if not client.list_stacks(name=name).items:
        parts = {Kind.ARTIFACT_STORE: store, Kind.EXPERIMENT_TRACKER: TRACKER, Kind.ORCHESTRATOR: "default"}
        client.create_stack(name, parts)
    client.activate_stack(name)
    return client.active_stack  # the tracker checks its URI when it is made


def _ensure_component(client: Any, name: str, kind: Any, flavor: str, configuration: dict[str, str]) -> None:
    found = client.list_stack_components(name=name, type=kind).items
    if not found:
        client.create_stack_component(name, flavor, kind, configuration)
    elif any(found[0].configuration.get(key) != value for key, value in configuration.items()):
        client.update_stack_component(name, kind, configuration=configuration)


def ensure_experiment(uri: str, name: str, place: str) -> None:
    """Create the experiment with an absolute place for its artifacts; MLflow's own choice follows the cwd."""
    import mlflow

    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    elif len(place) > PLACE_CHARACTERS:
        raise UserError(
            f"{shown_address(uri)} keeps {PLACE_CHARACTERS} characters of the place for artifacts, and {place} has "
            f"{len(place)}; set --state_folder or --stores.artifacts to a shorter one"
        )
    with talking_to_mlflow(uri):
        client = mlflow.MlflowClient(uri)
        found = client.get_experiment_by_name(name)
        if found is None:
            kind = {"mlflow.experimentKind": "custom_model_development"}  # else the UI opens on chats, not on runs
            client.create_experiment(name, artifact_location=place, tags=kind)
        elif found.lifecycle_stage == "deleted":
            raise UserError(
                f"the MLflow experiment {name} was deleted; restore it with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`, or set tracking.experiment_name to another name"
            )
        elif found.artifact_location.rstrip("/") != place:
            logger.warning(
                "the experiment %s keeps its artifacts where it was made: in %s, not in %s; for another place set "
                "tracking.experiment_name to a new name", name, shown_address(found.artifact_location), place,
            )  # fmt: skip
