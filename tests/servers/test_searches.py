import json
from pathlib import Path

import pytest

from configs.settings import Settings, TuningSettings
from tests.servers.postgresql import HOST, PASSWORD, USER, PostgreSQL
from tests.vision.training.test_search import said, tuning, worker
from vision.training.search import open_search

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
    given = tuning(small_settings, storage)
    with worker(given, tmp_path, 6, 120.0) as killed:
        assert said(killed).startswith("begins")
        with worker(given, tmp_path, 6, 0.5) as first, worker(given, tmp_path, 6, 0.5) as second:
            assert said(first).startswith("begins")
            killed.kill()
            drawn = [json.loads(one.communicate(timeout=120)[0].splitlines()[-1]) for one in (first, second)]

    trials = open_search("toy", TuningSettings(**given, trials=6), 0, tmp_path).study.trials
    complete = [trial.params["x"] for trial in trials if trial.state.name == "COMPLETE"]
    assert sorted([*drawn[0], *drawn[1]]) == sorted({*complete})
    assert len(complete) == 6
    assert "RUNNING" not in {trial.state.name for trial in trials}
