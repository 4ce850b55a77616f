import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna import Trial
from optuna.trial import FrozenTrial, TrialState, create_trial

from configs.errors import UserError
from configs.settings import Settings
from configs.tuning_settings import TuningSettings
from tests.conftest import PROJECT
from vision.training import search, trial_store
from vision.training.search import open_search, tried_trials
from vision.training.trial_store import open_trials

# searches with a toy objective in a process of its own; says when a trial begins, and at the end what it drew
WORKER = """
import json, sys, time
from datetime import timedelta
from pathlib import Path
from configs.tuning_settings import TuningSettings
from vision.training import search, trial_store
search.WAIT_SECONDS, trial_store.STARTING = 0.1, timedelta(seconds=0.3)
trial_store.HEARTBEAT_SECONDS, trial_store.DEAD_AFTER_SECONDS = 1, 3
trials, seconds, tuning = int(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])
drawn = []
def train(trial):
    drawn.append(trial.suggest_float("x", 0.0, 1.0))
    print("begins", trial.number, flush=True)
    time.sleep(seconds)
    return drawn[-1]
search.open_search("toy", TuningSettings(**tuning, trials=trials), 0, Path(sys.argv[4])).run(train, lambda *_: None)
print(json.dumps(drawn))
"""


def tuning(settings: Settings, storage: str | None) -> dict[str, Any]:
    given = settings.tuning.model_dump(mode="json") | {"storage": storage, "startup_trials": 2}
    return {name: value for name, value in given.items() if name != "trials"}


@contextmanager
def worker(given: dict[str, Any], folder: Path, trials: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-c", WORKER, str(trials), str(seconds), json.dumps(given), str(folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def search_while_one_is_killed(given: dict[str, Any], folder: Path, count: int, seconds: float) -> list[FrozenTrial]:
    """Search by three processes, of which the first is killed in its first trial; return all trials.

    The others take `seconds` a trial, draw no value twice, and end with exactly `count` trials.
    """
    with worker(given, folder, count, 120.0) as killed:
        assert said(killed).startswith("begins")
        with worker(given, folder, count, seconds) as first, worker(given, folder, count, seconds) as second:
            assert said(first).startswith("begins")
            killed.kill()
            drawn = [json.loads(one.communicate(timeout=120)[0].splitlines()[-1]) for one in (first, second)]

    trials = open_search("toy", TuningSettings(**given, trials=count), 0, folder).study.trials
    complete = complete_values(trials)
    assert sorted([*drawn[0], *drawn[1]]) == sorted({*complete})
    assert len(complete) == count
    assert "RUNNING" not in {trial.state.name for trial in trials}
    return trials


def complete_values(trials: list[FrozenTrial]) -> list[float]:
    return [trial.params["x"] for trial in trials if trial.state.name == "COMPLETE"]


def test_of_three_processes_at_one_search_one_is_killed_and_the_count_is_exact(
    toy_settings: Settings, tmp_path: Path
) -> None:
    trials = search_while_one_is_killed(tuning(toy_settings, str(tmp_path / "journal.log")), tmp_path, 4, 0.2)

    assert {trial.state.name for trial in trials} == {"COMPLETE", "FAIL"}
    assert trials[0].params["x"] in complete_values(trials)  # what the killed process tried was tried again


def test_a_trial_that_another_process_trains_is_not_taken_for_dead(
    toy_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_store, "STARTING", trial_store.STARTING * 0)
    given = tuning(toy_settings, str(tmp_path / "journal.log"))
    with worker(given, tmp_path, 2, 60.0) as other:
        assert said(other).startswith("begins")
        search = open_search("toy", toy_settings.tuning.model_copy(update=given), 0, tmp_path)

        search.store.fail_dead(search.study)

        assert [trial.state.name for trial in search.study.trials] == ["RUNNING"]


def test_trials_that_gave_way_to_others_are_not_counted_as_failed(toy_settings: Settings, tmp_path: Path) -> None:
    given = toy_settings.tuning.model_copy(update={"storage": str(tmp_path / "journal.log"), "trials": 2})
    search = open_search("toy", given, 0, tmp_path)
    for _ in range(4):
        search.study.add_trial(create_trial(state=TrialState.FAIL))
    drawn: list[float] = []

    def train(trial: Trial) -> float:
        drawn.append(trial.suggest_float("x", 0.0, 1.0))
        if len(drawn) == 1:
            raise UserError("the first fails")
        return drawn[-1]

    search.run(train, lambda *_: None)

    assert len(drawn) == 3
    assert [trial.params["x"] for trial in tried_trials(search.study)] == drawn


def test_a_search_whose_trials_all_fail_ends(toy_settings: Settings, tmp_path: Path) -> None:
    given = toy_settings.tuning.model_copy(update={"storage": str(tmp_path / "journal.log"), "trials": 2})
    search = open_search("toy", given, 0, tmp_path)

    def train(trial: Trial) -> float:
        trial.suggest_float("x", 0.0, 1.0)
        raise UserError("no")

    with pytest.raises(UserError, match=r"4 trials of toy failed; see tuning\.space"):
        search.run(train, lambda *_: None)


def test_a_file_that_is_not_a_journal_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary\n", encoding="utf-8")

    with pytest.raises(UserError, match=r"tuning\.storage .*notes\.txt is not a journal of Optuna"):
        open_trials(str(file), tmp_path)


def test_a_damaged_journal_is_refused(toy_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    open_search("toy", toy_settings.tuning.model_copy(update={"storage": str(file)}), 0, tmp_path)
    file.write_text("{" + file.read_text(encoding="utf-8") * 2, encoding="utf-8")

    with pytest.raises(UserError, match=r"tuning\.storage .*journal\.log is damaged"):
        open_trials(str(file), tmp_path)


def test_a_journal_in_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    with pytest.raises(UserError, match=r"tuning\.storage .* cannot be written"):
        open_trials(str(tmp_path / "file" / "journal.log"), tmp_path)


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (make setup-servers)")

    with pytest.raises(UserError, match=r"tuning\.storage postgresql://127\.0\.0\.1:9/trials cannot be used .*refused"):
        open_trials("postgresql://127.0.0.1:9/trials", tmp_path)


def test_a_missing_driver_is_named_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"needs the package psycopg2; .*\[postgresql\]"):
        open_trials("postgresql://127.0.0.1:9/trials", tmp_path)


def test_a_trial_that_was_queued_again_is_not_trained_beside_the_last_one(
    toy_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "WAIT_SECONDS", 0.01)
    given = tuning(toy_settings, str(tmp_path / "journal.log"))
    one = open_search("toy", TuningSettings(**given, trials=1), 0, tmp_path)
    one.study.enqueue_trial({"x": 0.5})  # number 0, as after a process died
    with one.store.hold("toy", 1):
        one.study._storage.create_new_trial(one.study._study_id)  # number 1, begun by another process
        trained: list[int] = []

        one._train_one(lambda trial: trained.append(trial.number) or 0.0, lambda study, trial: None)

    assert not trained
    assert [trial.state.name for trial in one.study.trials] == ["FAIL", "RUNNING"]
