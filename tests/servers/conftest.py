"""Fixtures: each server once for all tests; what lacks one skips with what it needs."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import pytest
from mlflow import MlflowClient

from tests.conftest import PROJECT, child_environment
from tests.faults.conftest import short_yaml as short_yaml
from tests.pipelines.conftest import crops as crops
from tests.preloaded import PreloadedProcess
from tests.servers import postgresql as database
from tests.servers import seaweedfs as objects
from tests.servers import zenml_server as orchestration
from tests.servers.mlflow_server import MlflowServer, mlflow_server
from tests.servers.postgresql import PostgreSQL
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.zenml_server import ZenMLServer

Server = TypeVar("Server")


def run_or_skip(missing: str | None, server: AbstractContextManager[Server]) -> Iterator[Server]:
    """Yield a server that runs for a session, or skip where the machine lacks what it needs."""
    if missing:
        pytest.skip(missing)
    with server as running:
        yield running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    yield from run_or_skip(database.why_missing(), database.postgresql())


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    yield from run_or_skip(objects.why_missing(), objects.seaweedfs(tmp_path_factory.mktemp("seaweedfs")))


@pytest.fixture(scope="session")
def zenml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZenMLServer]:
    yield from run_or_skip(
        orchestration.why_missing(), orchestration.zenml_server(tmp_path_factory.mktemp("zenml-server"))
    )


STACK = "team"
# registers a stack on the ZenML server that the environment names; S3's key stays in the environment
REGISTER = """
import sys
from zenml.client import Client
from zenml.enums import StackComponentType as kind
client = Client()
name, path, uri = sys.argv[1:]
client.create_stack_component("bucket", "s3", kind.ARTIFACT_STORE, {"path": path})
server = {"tracking_uri": uri, "tracking_token": "none is asked for"}
client.create_stack_component("mlflow", "mlflow", kind.EXPERIMENT_TRACKER, server)
parts = {kind.ORCHESTRATOR: "default", kind.ARTIFACT_STORE: "bucket", kind.EXPERIMENT_TRACKER: "mlflow"}
client.create_stack(name, parts)
"""


@dataclass(frozen=True)
class Stores:
    """The servers that keep runs, models and artifacts."""

    postgresql: PostgreSQL
    s3: SeaweedFS
    mlflow: MlflowServer
    zenml_bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a run finds the bucket."""
        return self.s3.environment_of_clients

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.mlflow.uri)


@dataclass(frozen=True)
class UsersStack:
    """A stack of the user's on a ZenML server."""

    stores: Stores
    zenml: ZenMLServer

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a run finds it."""
        return {**self.stores.environment, **self.zenml.environment_of_clients}


@pytest.fixture(scope="session")
def stores(postgresql: PostgreSQL, s3: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    database, bucket = postgresql.create_database("mlflow"), s3.create_bucket("mlflow")
    folder = tmp_path_factory.mktemp("mlflow-server")
    with mlflow_server(folder, database, f"{bucket}/artifacts", s3.environment_of_clients) as mlflow:
        yield Stores(postgresql, s3, mlflow, s3.create_bucket("zenml"))


@pytest.fixture(scope="session")
def users_stack(
    stores: Stores, zenml: ZenMLServer, preloaded: PreloadedProcess, tmp_path_factory: pytest.TempPathFactory
) -> UsersStack:
    folder = tmp_path_factory.mktemp("users-stack")
    users, path = UsersStack(stores, zenml), f"{stores.s3.create_bucket('zenml-of-team')}/steps"
    given = {**child_environment(folder / "home"), **users.environment, "ZENML_ANALYTICS_OPT_IN": "false"}
    program = ["-c", REGISTER, STACK, path, stores.mlflow.uri]
    ((code, said),) = preloaded.run(PROJECT, given, [({}, program)], folder / "output.txt")
    assert code == 0, said
    return users
