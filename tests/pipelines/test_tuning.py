from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import yaml

from tests.conftest import FinishedRun

SEARCH = ["--pipeline", "tuning", "--tuning.trials", "2", "--tuning.epochs", "1"]


@pytest.fixture(scope="module")
def searched(run_toy: Callable[..., list[FinishedRun]], tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_toy(tmp_path_factory.mktemp("search"), SEARCH)[0]


def test_a_search_ends_with_a_file_for_config_and_says_how_to_use_it(searched: FinishedRun) -> None:
    assert searched.code == 0, searched.output
    lines = searched.last_lines()
    found = yaml.safe_load(Path(lines["settings"]).read_text(encoding="utf-8"))
    assert {"dataset", "training", "classifier"} <= set(found)  # the data set of the search, too
    assert "tuning" not in found
    assert lines["train with them"].endswith(f"--config {lines['settings']}")
    assert lines["trials"] == "2 complete, 0 pruned, 0 fail"
    assert "2 of 2 done\n" in searched.output


def test_each_trial_is_a_run_inside_the_searchs_own(searched: FinishedRun) -> None:
    client = mlflow.MlflowClient(searched.tracking_uri)
    (experiment,) = [found for found in client.search_experiments() if found.name == "face-emotion"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]

    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]

    assert {run.info.run_name for run in trials} == {"trial 0", "trial 1"}
    assert all(run.data.tags["trial_state"] == "complete" for run in trials)
    assert all("training.weight_decay" in run.data.params and "val_accuracy" in run.data.metrics for run in trials)
    best = max(run.data.metrics["val_accuracy"] for run in trials)
    assert parent.data.metrics["tuning/best_val_accuracy"] == pytest.approx(best)
