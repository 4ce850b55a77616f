"""The MLflow server goes in the middle of a training."""

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from tests.faults.conftest import Server, WatchedRun

pytestmark = pytest.mark.faults


def test_a_server_that_comes_back_gets_every_epoch_in_order(
    start: Callable[..., WatchedRun], server: Server, tmp_path: Path
) -> None:
    run = start(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    run.wait_for(run.says("epoch 1/6"))
    server.kill()
    run.wait_for(run.says("epoch 4/6"))
    server.start()

    assert run.end() == 0, run.output
    assert run.output.count("MLflow does not take the metrics") == 1
    assert "MLflow answers again" in run.output
    assert "Traceback" not in run.output
    client = mlflow.MlflowClient(server.uri)
    champion = client.get_model_version_by_alias("face-emotion-classifier", "champion")
    history = client.get_metric_history(champion.run_id, "val_accuracy")
    assert [metric.step for metric in history] == [1, 2, 3, 4, 5, 6]
    assert [metric.timestamp for metric in history] == sorted(metric.timestamp for metric in history)


def test_without_the_server_the_training_is_kept_and_the_same_command_does_not_train_again(
    start: Callable[..., WatchedRun], server: Server, tmp_path: Path
) -> None:
    run = start(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    run.wait_for(run.says("epoch 1/6"))
    server.kill()

    assert run.end() == 2, run.output
    assert f"error: {server.uri} did not take the metrics" in run.output
    assert "the training is kept, and the same command resumes there without training again" in run.output
    assert "Traceback" not in run.output
    assert len(run.output.splitlines()) < 60
    server.start()
    again = start(tmp_path, MLFLOW_TRACKING_URI=server.uri)
    assert again.end() == 0, again.output
    assert "the training was finished before (6 epochs)" in again.output
