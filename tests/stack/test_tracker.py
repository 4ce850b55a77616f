from types import SimpleNamespace
from typing import Any

import pytest

from stack.tracker import ADDRESS, EnvironmentTracker

KEPT: Any = SimpleNamespace(config=SimpleNamespace(tracking_uri="http://mlflow.example"))


def test_a_step_of_the_clients_process_tracks_to_the_address_with_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "postgresql://user:secret@host/mlflow")

    assert EnvironmentTracker.get_tracking_uri(KEPT) == "postgresql://user:secret@host/mlflow"
    assert EnvironmentTracker.get_tracking_uri(KEPT, as_plain_text=False) == "http://mlflow.example"


def test_a_step_in_a_process_of_its_own_tracks_to_the_address_that_zenml_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)

    assert EnvironmentTracker.get_tracking_uri(KEPT) == "http://mlflow.example"
