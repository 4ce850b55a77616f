"""Fixtures: each server once for all tests; what lacks one skips with what it needs."""

from collections.abc import Iterator

import pytest

from tests.servers import postgresql as database
from tests.servers import seaweedfs as objects
from tests.servers import zenml_server as orchestration
from tests.servers.postgresql import PostgreSQL
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.zenml_server import ZenMLServer


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    if reason := database.why_missing():
        pytest.skip(reason)
    with database.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    if reason := objects.why_missing():
        pytest.skip(reason)
    with objects.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def zenml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZenMLServer]:
    if reason := orchestration.why_missing():
        pytest.skip(reason)
    with orchestration.zenml_server(tmp_path_factory.mktemp("zenml-server")) as server:
        yield server
