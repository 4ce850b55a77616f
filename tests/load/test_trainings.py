"""Trainings that start together on one store. LOAD_TRAININGS: how many (5)."""

import os
import subprocess
import time
from pathlib import Path

import mlflow
import pytest

from stack import model_store, registry
from tests.conftest import PROJECT, command

pytestmark = pytest.mark.load
NAME = "face-emotion-classifier"
TRAININGS = int(os.environ.get("LOAD_TRAININGS", "5"))


def test_trainings_at_once_on_one_store_all_end_well_and_leave_one_champion(tmp_path: Path, toy_yaml: Path) -> None:
    given = ("--config", str(toy_yaml), "--promotion.allow_drawn", "true")
    began = time.monotonic()
    started = []
    for seed in range(1, TRAININGS + 1):
        line, environment, state, _ = command(tmp_path, *given, "--seed", str(seed))
        started.append(
            subprocess.Popen(
                line, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )

    said = [process.communicate(timeout=1800)[0] for process in started]

    seconds, codes = time.monotonic() - began, [process.returncode for process in started]
    print(f"\n{TRAININGS} trainings at once in {seconds:.0f} s; exit codes {codes}")
    assert set(codes) <= {0, 3}, "\n\n".join(said)
    mlflow.set_tracking_uri(f"sqlite:///{state / 'mlflow' / 'mlflow.db'}")
    try:
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name("face-emotion")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert [run.info.status for run in runs] == ["FINISHED"] * TRAININGS
        versions = client.search_model_versions(f"name='{NAME}'")
        assert sorted(int(version.version) for version in versions) == list(range(1, TRAININGS + 1))
        assert {version.run_id for version in versions} == {run.info.run_id for run in runs}
        outcomes = [version.tags["decision"] for version in versions]
        assert outcomes.count("promoted") == codes.count(0) >= 1
        champion = registry.champion_of(NAME)
        assert champion.tags["decision"] == "promoted"
        model_store.load_model(champion.uri)
        # each promoted version names the champion that it was compared with: one chain, from none to the last
        before = {version.tags["previous_champion"]: str(version.version) for version in versions
                  if version.tags["decision"] == "promoted"}  # fmt: skip
        last, length = before["none"], 1
        while last in before:
            last, length = before[last], length + 1
        assert (last, length) == (champion.number, outcomes.count("promoted"))
    finally:
        mlflow.set_tracking_uri(None)
