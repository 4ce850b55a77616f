"""The registry of MLflow: versions and aliases of the model, which ZenML's stages mirror."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from configs.errors import UserError
from stack.champion_lock import champion_lock
from stack.error_messages import reason_of, talking_to_mlflow

logger = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
PROMOTED_AT, PREVIOUS = "promoted_at", "previous_champion"
TEST_FINGERPRINT = "test_fingerprint"  # tag of a version and its run: which faces tested it
REGISTERED = "models:/"  # begins the URI of a version
STAGES = {CHAMPION: "production", CHALLENGER: "staging"}  # of ZenML's model versions
LARGEST_NUMBER = 2**31 - 1  # of a version: its column in MLflow's tables, of which SQLite knows no type


class ModelError(UserError):
    """A registered model that cannot be used; what it was needed for does not happen."""


class ChampionMovedError(ModelError):
    """Another run moved the alias meanwhile."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model, and the MLflow run that it came from."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, found: ModelVersion) -> "RegisteredVersion":
        """Take over what MLflow says; its number is an integer from some stores."""
        return cls(found.name, str(found.version), str(found.run_id), dict(found.tags))

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"


def find_alias(name: str, alias: str, client: MlflowClient | None = None) -> RegisteredVersion | None:
    """Return the version that holds the alias, or None; `client` is the active store's. Raises StoreError."""
    client = client or MlflowClient()
    with talking_to_mlflow(client.tracking_uri):
        try:
            return RegisteredVersion.of(client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise


def champion_of(name: str) -> RegisteredVersion:
    """Return the champion. Raises ModelError where there is none."""
    found = find_alias(name, CHAMPION)
    if found is None:
        raise ModelError(
            f"{name} has no champion; train one with --pipeline training, or bring one with --pipeline import"
        )
    return found


def find_version(uri: str) -> RegisteredVersion:
    """Return the registered version that models:/NAME/VERSION means. Raises ModelError for any other URI."""
    name, _, version = uri.removeprefix(REGISTERED).partition("/")
    if version.isdecimal() and (len(version) > len(str(LARGEST_NUMBER)) or int(version) > LARGEST_NUMBER):
        raise ModelError(f"{uri} is not a registered version; numbers of versions end at {LARGEST_NUMBER}")
    with talking_to_mlflow():
        try:
            return RegisteredVersion.of(MlflowClient().get_model_version(name, version))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise ModelError(f"{uri} is not a registered version; expected models:/NAME/VERSION") from error


def now() -> str:
    """Return the time for a tag, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def tag_version(name: str, version: str, tags: Mapping[str, str]) -> None:
    """Write tags to a registered version."""
    client = MlflowClient()
    with talking_to_mlflow():
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)


def move_champion(name: str, version: str, expected: str | None, tags: Mapping[str, str]) -> None:
    """Make `version` the champion in one call, after its tags are written.

    Whatever kills the process, the alias is on the old champion or on the new one, and the new one has its tags.
    Raises ChampionMovedError where the champion is not the `expected` one any more; the lock keeps whoever writes to
    the same store from moving it in between.
    """
    with champion_lock(name) as still_held:
        current = find_alias(name, CHAMPION)
        if (current.number if current else None) != expected:
            raise ChampionMovedError(f"another run changed the champion of {name} meanwhile; look with --compare")
        tag_version(name, version, tags)
        with talking_to_mlflow():
            held = still_held()
        if not held:  # this machine was asleep for so long that another broke the lock
            raise ChampionMovedError(f"the lock of the champion of {name} was lost meanwhile; look with --compare")
        set_alias(name, CHAMPION, version)
        mirror_stage(name, version, CHAMPION)


def set_challenger(name: str, version: str) -> None:
    """Give a version the alias challenger, and its ZenML model version the stage for it."""
    set_alias(name, CHALLENGER, version)
    mirror_stage(name, version, CHALLENGER)


def set_alias(name: str, alias: str, version: str) -> None:
    """Give an alias to a version, whichever version had it before."""
    with talking_to_mlflow():
        MlflowClient().set_registered_model_alias(name, alias, version)


def mirror_stage(name: str, version: str, alias: str) -> None:
    """Show a version's alias as the stage of ZenML's model version of that number, which is made if it is missing.

    The alias counts: where ZenML does not take the stage, that is only said, and the run continues to its report.
    """
    try:
        _mirror_stage(name, version, alias)
    except Exception as error:  # noqa: BLE001 - ZenML's client, its server and its database each raise their own
        reason = reason_of(error)
        logger.warning("version %s of %s is the %s; ZenML does not show it as that: %s", version, name, alias, reason)


def _mirror_stage(name: str, version: str, alias: str) -> None:
    from zenml.client import Client  # here, because --compare reads the registry without ZenML
    from zenml.exceptions import EntityExistsError

    client, mirrored = Client(), f"mlflow-{version}"  # ZenML keeps plain numbers for its own count
    try:
        client.create_model(name)
    except EntityExistsError:
        logger.debug("ZenML has the model %s", name)
    try:
        client.create_model_version(name, mirrored)
    except EntityExistsError:
        logger.debug("ZenML has version %s of the model %s", mirrored, name)
    client.update_model_version(name, mirrored, stage=STAGES[alias], force=True)
