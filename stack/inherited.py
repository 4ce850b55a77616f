"""Inherited variables: what a run takes from the environment that it starts in, sets aside, or refuses.

docs/configuration.md has the same table for users. Whatever is not named here is left as it is.
"""

import logging
import os
from pathlib import Path

from configs.environment import shown_address, without_login
from configs.errors import UserError
from stack.findings import Finding
from stack.local_stack import tracking_uri
from stack.users_zenml import wants_users_zenml

logger = logging.getLogger(__name__)

REGISTRY = "MLFLOW_REGISTRY_URI"
# of another program's runs; name → where the same is said here
SET_ASIDE = {
    "MLFLOW_RUN_ID": "each run is a new one",
    "MLFLOW_ACTIVE_MODEL_ID": "each run logs its own model",
    "MLFLOW_RUN_CONTEXT": "runs have their own tags",
    "MLFLOW_EXPERIMENT_ID": "--tracking.experiment_name says the experiment",
    "MLFLOW_EXPERIMENT_NAME": "--tracking.experiment_name says the experiment",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "metrics are sent as the epochs end",
    "TF_USE_LEGACY_KERAS": "this project needs Keras 3",
}
# of another ZenML than ours, by how their names begin; taken where the environment asks for a ZenML of the user's
OF_ANOTHER_ZENML = (
    "ZENML_STORE_",
    "ZENML_SECRETS_STORE_",
    "ZENML_BACKUP_SECRETS_STORE_",
    "ZENML_ACTIVE_PROJECT_ID",
    "ZENML_DEFAULT_",
    "ZENML_LOCAL_STORES_PATH",
    "ZENML_REPOSITORY_",
    "ZENML_RUN_SINGLE_STEPS_WITHOUT_STACK",
)
BACKEND = "tensorflow"  # of pipelines; --bare takes any of Keras's
REPOSITORY = "ZENML_REPOSITORY_DIRECTORY_NAME"  # `zenml init` makes a folder .zen, in which a run would set its stack
NO_REPOSITORY = "zenml_of_none"


def check_registry(uri: str) -> None:
    """Raise UserError where models would be registered elsewhere than at `uri`, to which runs are tracked."""
    if trouble := _registry_trouble(uri):
        raise UserError(trouble)
    os.environ.pop(REGISTRY, None)  # it says the same, perhaps with a login, which would stand in messages


def set_aside(state: Path) -> list[str]:
    """Remove what another program left in the environment, and log what that was; return the names."""
    reasons = {name: reason for name, reason in SET_ASIDE.items() if os.environ.get(name)}
    if os.environ.get("KERAS_BACKEND", BACKEND) not in ("", BACKEND):
        reasons["KERAS_BACKEND"] = "pipelines compute with TensorFlow, --bare with any backend"
    if not wants_users_zenml(state):
        of_zenml = [name for name in os.environ if name.startswith(OF_ANOTHER_ZENML)]
        reasons |= dict.fromkeys(of_zenml, "this project has a ZenML of its own")
    if os.environ.get(REPOSITORY) == NO_REPOSITORY:  # set below, by an earlier run of this process
        reasons.pop(REPOSITORY, None)
    for name, reason in reasons.items():
        del os.environ[name]
        logger.warning("the environment's %s is not used: %s", name, reason)
    if not wants_users_zenml(state):
        os.environ[REPOSITORY] = NO_REPOSITORY
    return sorted(reasons)


def check_environment(state: Path) -> Finding:
    """Say which inherited variables a run would not use, or refuse."""
    uri = "" if wants_users_zenml(state) else tracking_uri(state)
    if uri and (trouble := _registry_trouble(uri)):
        return Finding.wrong("environment", trouble.partition(";")[0], f"unset {REGISTRY}")
    names = [name for name in SET_ASIDE if os.environ.get(name)]
    return Finding("environment", f"not used: {', '.join(names)}" if names else "nothing of another program's")


def _registry_trouble(uri: str) -> str:
    registry = os.environ.get(REGISTRY, "")
    if not registry or without_login(registry).rstrip("/") == without_login(uri).rstrip("/"):
        return ""
    return (
        f"{REGISTRY} is {shown_address(registry)}, but runs are tracked to {shown_address(uri)}; runs and models "
        f"belong in one store here: unset {REGISTRY}, or set MLFLOW_TRACKING_URI to the same server"
    )
