from pathlib import Path

import pytest

from configs.settings import Settings
from tests.servers.postgresql import HOST, PASSWORD, USER, PostgreSQL
from tests.vision.training.test_search import search_while_one_is_killed, tuning

pytestmark = pytest.mark.servers


@pytest.fixture
def server_of_trials(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> str:
    postgresql.create_database("trials")
    monkeypatch.setenv("PGUSER", USER)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return f"postgresql://{HOST}:{postgresql.port}/trials"


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_of_three_processes_at_one_search_one_is_killed_and_the_count_is_exact(
    small_settings: Settings, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    storage = request.getfixturevalue("server_of_trials") if kind == "postgresql" else None
    search_while_one_is_killed(tuning(small_settings, storage), tmp_path, 6, 0.5)
