import logging
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from stack import run_log
from stack.error_messages import StoreError
from stack.run_log import EpochLog, run_id


class Store:
    """Takes metrics while it answers."""

    def __init__(self) -> None:
        self.answers, self.taken = True, []

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        if not self.answers:
            raise MlflowException("API request failed")
        self.taken += [(metric.key, metric.value, metric.step) for metric in metrics]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(mlflow, "MlflowClient", lambda: made)
    monkeypatch.setattr(mlflow, "active_run", lambda: SimpleNamespace(info=SimpleNamespace(run_id="abc")))
    return made


def test_metrics_that_the_store_did_not_take_are_sent_later_in_order(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="stack")
    log = EpochLog()

    log(1, {"loss": 3.0})
    store.answers = False
    log(2, {"loss": 2.0})
    log(3, {"loss": 1.0})
    store.answers = True
    log(4, {"loss": 0.5})
    log.finish()

    assert store.taken == [("loss", 3.0, 1), ("loss", 2.0, 2), ("loss", 1.0, 3), ("loss", 0.5, 4)]
    said = [record.getMessage() for record in caplog.records]
    assert [line for line in said if "does not take the metrics" in line] == said[:1]
    assert "answers again" in said[-1]


def test_a_store_that_stays_silent_ends_the_training_with_an_error_that_says_what_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "SEND_SECONDS", 0.0)
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "http://me:secret@mlflow.example")
    store.answers = False
    log = EpochLog()
    log(1, {"loss": 3.0})

    with pytest.raises(StoreError, match=r"http://mlflow\.example did not take the metrics of 1 epochs .* is kept"):
        log.finish()


def test_a_step_without_an_mlflow_run_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "active_run", lambda: None)

    with pytest.raises(RuntimeError, match="experiment tracker"):
        run_id()
