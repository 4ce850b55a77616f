"""Fixtures: an environment in which nothing of the user's is found."""

from pathlib import Path

import pytest

from stack import databases
from stack.users_zenml import USERS_ZENML


@pytest.fixture
def nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no stores of the user's, an empty home, and little patience with servers and locks."""
    for name in (*USERS_ZENML, "MLFLOW_TRACKING_URI", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(databases, "DATABASE_SECONDS", 0.3)
