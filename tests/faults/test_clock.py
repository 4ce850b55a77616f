"""A clock that was set back: everything that earlier runs left is dated a year ahead of the run that follows."""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.faults.conftest import WatchedRun

pytestmark = pytest.mark.faults
NAME = "face-emotion-classifier"
YEAR = 365 * 24 * 3600
DATES = {"runs": ("start_time", "end_time"), "metrics": ("timestamp",), "model_versions": ("creation_time",)}  # in ms


def date_ahead(state: Path) -> None:
    """Date MLflow's runs, metrics and versions, and every file, a year ahead."""
    with contextlib.closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as database, database:
        for table, columns in DATES.items():
            for column in columns:
                database.execute(f"UPDATE {table} SET {column} = {column} + ?", (YEAR * 1000,))
    for path in state.rglob("*"):
        seen = path.stat()
        os.utime(path, (seen.st_atime + YEAR, seen.st_mtime + YEAR))


def test_after_the_clock_was_set_back_the_gate_and_the_comparison_know_the_same_champion(
    start: Callable[..., WatchedRun], tmp_path: Path
) -> None:
    first = start(tmp_path)
    assert first.end() == 0, first.output
    date_ahead(first.state)

    second = start(tmp_path, "--seed", "7")

    assert second.end() in (0, 3), second.output
    client = mlflow.MlflowClient(f"sqlite:///{first.state / 'mlflow' / 'mlflow.db'}")
    challenger = client.get_model_version_by_alias(NAME, "challenger")
    assert int(challenger.version) == 2
    assert "against champion version 1" in challenger.tags["decision_reason"]
    seconds = client.get_metric_history(challenger.run_id, "seconds")
    assert [metric.step for metric in seconds] == list(range(1, len(seconds) + 1))
    assert all(metric.value > 0 for metric in seconds)
    compared = start(tmp_path, "--compare")
    assert compared.end() == 0
    assert challenger.run_id[:8] in compared.output
