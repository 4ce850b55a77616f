import os
from types import SimpleNamespace
from typing import Any

import pytest
from zenml.enums import ExecutionStatus

from configs.errors import INVALID_DATA, UNEXPECTED, UserError
from stack import elsewhere
from stack.elsewhere import CODE, RunElsewhere, enter_step_process, step_environment
from stack.failures import NOTED, FailedElsewhereError

INVALID = {NOTED: {"exit_code": INVALID_DATA, "sentence": "faces failed", "step": "accept_data"}}


def finish(monkeypatch: pytest.MonkeyPatch, start: Any, *found: Any) -> Any:
    """Finish a run that ZenML knows in these states, one after the other."""
    states = iter(found)
    monkeypatch.setattr(RunElsewhere, "find", lambda self: next(states))
    monkeypatch.setattr(elsewhere, "POLL_SECONDS", 0.0)
    return RunElsewhere("a run").finish(start)


def run(status: ExecutionStatus, **metadata: Any) -> Any:
    return SimpleNamespace(status=status, run_metadata=metadata)


def fail() -> None:
    raise RuntimeError("the container ended with 1")


def test_a_run_is_awaited_where_the_orchestrator_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    last = run(ExecutionStatus.COMPLETED)

    assert finish(monkeypatch, lambda: None, run(ExecutionStatus.RUNNING), last) is last


def test_what_the_step_noted_is_raised_instead_of_what_the_orchestrator_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailedElsewhereError, match="faces failed") as caught:
        finish(monkeypatch, fail, run(ExecutionStatus.RUNNING, **INVALID))

    assert caught.value.exit_code == INVALID_DATA


def test_an_orchestrator_that_cannot_start_the_run_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="the container ended"):
        finish(monkeypatch, fail, None)


def test_a_run_that_failed_without_a_word_is_an_unexpected_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FailedElsewhereError, match="a run is failed, and no step could say why") as caught:
        finish(monkeypatch, lambda: None, run(ExecutionStatus.FAILED))

    assert caught.value.exit_code == UNEXPECTED


def test_a_step_with_the_clients_code_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE, step_environment()[CODE])

    enter_step_process()


def test_a_step_with_other_code_than_the_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE, "0" * 32)

    with pytest.raises(UserError, match=r"than the command was given with \(0{12}\)"):
        enter_step_process()


def test_the_environment_of_steps_has_nothing_of_the_clients_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")

    environment = step_environment()

    assert not {"MLFLOW_TRACKING_PASSWORD", "TMPDIR", "HOME"} & set(environment)
    assert environment["TF_ENABLE_ONEDNN_OPTS"] == "1"
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
