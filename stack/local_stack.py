"""Where pipelines run: a local ZenML stack that sets itself up, and the MLflow store that it tracks to."""

import atexit
import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from click import get_app_dir
from filelock import FileLock, Timeout

from configs.environment import without_login
from configs.errors import UserError

STACK, TRACKER, ARTIFACTS = "face_emotion", "face_emotion_tracker", "face_emotion_artifacts"
FORMER_TRACKER = "face_emotion_mlflow"  # of stores made before logins stayed in the environment
SERVER_SECONDS = 20
OWN_ZENML = "zenml"  # folder in the state folder
USERS_ZENML = ("ZENML_CONFIG_PATH", "ZENML_STORE_URL", "ZENML_ACTIVE_STACK_ID", "ZENML_ACTIVE_STACK_NAME")


@dataclass(frozen=True)
class Tracking:
    """The MLflow store of the active stack."""

    uri: str
    stack: str

    @property
    def ui_command(self) -> str:
        """The command that opens the MLflow UI, or the server's address."""
        shown = shown_address(self.uri)
        if shown.startswith("http"):
            return shown
        line = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", shown, "--host", "127.0.0.1"]
        return shlex.join(line)


def shown_address(uri: str) -> str:
    """Return a URI without its user, its password and whatever is asked of it."""
    return without_login(uri).partition("?")[0]


def check_writable(setting: str, folder: Path) -> None:
    """Make the folder. Raises UserError that names the setting where nothing can be written there."""
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


def has_users_zenml() -> bool:
    """Say whether the user has a ZenML of their own, by the environment or in the home folder."""
    return any(map(os.environ.get, USERS_ZENML)) or Path(get_app_dir("zenml"), "config.yaml").is_file()


def quiet_libraries(debug: bool) -> None:
    """Set what ZenML, MLflow, Great Expectations and TensorFlow read when they are imported: no telemetry and,
    without `debug`, only this project's own messages on the console.
    """
    defaults = {
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
        "MPLBACKEND": "Agg",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def temporary_folder(state: Path) -> Path:
    """Make a folder that goes with this process, and remove those of processes that were killed.

    MLflow leaves what it downloads from a server in there, a model at a time.
    """
    root = state / "temporary"
    root.mkdir(exist_ok=True)
    for lock in root.glob("*.lock"):
        with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    held = FileLock(f"{folder}.lock")
    held.acquire()

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        Path(held.lock_file).unlink(missing_ok=True)
        held.release()

    atexit.register(remove)
    return folder


def prepare_environment(project: Path, state: Path, debug: bool) -> None:
    """Set the environment that the libraries read when they are imported, with their files in the state folder."""
    os.environ.pop("MLFLOW_RUN_ID", None)  # would make the run of another program ours
    os.environ |= {
        "TMPDIR": str(temporary_folder(state)),
        "ZENML_CUSTOM_SOURCE_ROOT": str(project),
        "KERAS_BACKEND": "tensorflow",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
    }
    quiet_libraries(debug)
    if not has_users_zenml():
        # already on import ZenML makes its store there
        os.environ["ZENML_CONFIG_PATH"] = str(state / OWN_ZENML)


def start_lock(state: Path) -> FileLock:
    """Return the lock under which a run imports ZenML and prepares the stack.

    Runs that start together wait for each other, so that one of them makes the stores that are missing.
    """
    return FileLock(state / "start.lock")


def prepare_stack(state: Path, experiment: str) -> Tracking:
    """Activate the user's ZenML stack if it has an MLflow tracker, or else our own, made at the first run."""
    users_tracker = _users_tracker(state / OWN_ZENML)
    if users_tracker:
        return users_tracker
    _use_own_zenml(state / OWN_ZENML)
    from zenml.client import Client

    uri = tracking_uri(state)
    try:
        _activate_stack(Client(), uri, state / "artifacts")
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"MLFLOW_TRACKING_URI {shown_address(uri)} is refused by ZenML: {reason}") from error
    if uri.startswith("http"):
        check_server(uri)
    else:
        _ensure_experiment(uri, experiment, state / "mlflow" / "artifacts")
    return Tracking(uri, STACK)


def _users_tracker(own: Path) -> Tracking | None:
    """Return the tracking of the user's own active stack, or None where it has no experiment tracker."""
    if os.environ.get("ZENML_CONFIG_PATH") == str(own):
        return None
    from zenml.client import Client

    tracker: Any = Client().active_stack.experiment_tracker
    if tracker is None:
        return None
    if tracker.flavor != "mlflow":
        raise UserError(
            f"the active ZenML stack {Client().active_stack.name} tracks with {tracker.flavor}; this pipeline needs "
            "MLflow: activate another stack, or none, and this project sets up its own"
        )
    return Tracking(tracker.get_tracking_uri(), Client().active_stack.name)


def _use_own_zenml(folder: Path) -> None:
    """Keep ZenML's own store inside the state folder, even if it was opened elsewhere in this process."""
    from zenml.client import Client
    from zenml.config.global_config import GlobalConfiguration

    folder.mkdir(parents=True, exist_ok=True)
    os.environ["ZENML_CONFIG_PATH"] = str(folder)
    for name in USERS_ZENML[1:]:
        os.environ.pop(name, None)
    GlobalConfiguration._reset_instance()
    Client._reset_instance()


def _activate_stack(client: Any, uri: str, artifacts: Path) -> None:
    """Register the stack and its parts where they are missing or changed. Raises ValueError for a wrong URI.

    What is stored of the URI has no login.
    """
    from zenml.enums import StackComponentType as Kind

    from stack.tracker import FLAVOR, EnvironmentTracker, EnvironmentTrackerFlavor

    EnvironmentTracker.address = uri
    if not client.list_flavors(name=FLAVOR, type=Kind.EXPERIMENT_TRACKER).items:
        source = f"{EnvironmentTrackerFlavor.__module__}.{EnvironmentTrackerFlavor.__name__}"
        client.create_flavor(source, Kind.EXPERIMENT_TRACKER)
    _ensure_component(client, ARTIFACTS, Kind.ARTIFACT_STORE, "local", {"path": str(artifacts)})
    _ensure_component(client, TRACKER, Kind.EXPERIMENT_TRACKER, FLAVOR, {"tracking_uri": shown_address(uri)})
    if client.list_stack_components(name=FORMER_TRACKER, type=Kind.EXPERIMENT_TRACKER).items:
        client.update_stack(STACK, component_updates={Kind.EXPERIMENT_TRACKER: TRACKER})
        client.delete_stack_component(FORMER_TRACKER, Kind.EXPERIMENT_TRACKER)
    if not client.list_stacks(name=STACK).items:
        parts = {Kind.ARTIFACT_STORE: ARTIFACTS, Kind.EXPERIMENT_TRACKER: TRACKER, Kind.ORCHESTRATOR: "default"}
        client.create_stack(STACK, parts)
    client.activate_stack(STACK)
    _ = client.active_stack  # the tracker checks its URI when it is made


def _ensure_component(client: Any, name: str, kind: Any, flavor: str, configuration: dict[str, str]) -> None:
    found = client.list_stack_components(name=name, type=kind).items
    if not found:
        client.create_stack_component(name, flavor, kind, configuration)
    elif any(found[0].configuration.get(key) != value for key, value in configuration.items()):
        client.update_stack_component(name, kind, configuration=configuration)


def check_server(uri: str, seconds: float = SERVER_SECONDS) -> None:
    """Raise UserError where no server answers; MLflow itself would try for minutes."""
    import requests

    try:
        requests.get(uri, timeout=seconds)
    except (requests.RequestException, ValueError) as error:  # ValueError: of some impossible names of servers
        shown = shown_address(uri)
        raise UserError(f"MLFLOW_TRACKING_URI {shown}: no server answers ({type(error).__name__})") from error


def _ensure_experiment(uri: str, name: str, artifacts: Path) -> None:
    """Create the experiment with an absolute place for its artifacts; MLflow's own choice follows the cwd."""
    import mlflow

    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {name} was deleted; restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or set tracking.experiment_name to another name"
        )
    if found is None:
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens on training runs, not on chats
        client.create_experiment(name, artifact_location=artifacts.as_uri(), tags=kind)
