import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from stack import champion_lock as lock_module
from stack.champion_lock import LOCK, SUFFIX, champion_lock
from vision.files.locks import InUseError, hold_lock


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    yield folder
    mlflow.set_tracking_uri(None)


@pytest.fixture
def on_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the store taken for one of which only the client is known; it is real all the same."""
    monkeypatch.setattr(lock_module, "sqlite_path", lambda uri: None)
    monkeypatch.setattr(lock_module, "ASK_SECONDS", 0.02)


def registered() -> list[str]:
    return [model.name for model in mlflow.MlflowClient().search_registered_models()]


def test_a_store_in_a_file_has_its_lock_beside_it(store: Path) -> None:
    with champion_lock("emotions") as still_held, pytest.raises(InUseError), hold_lock(store / LOCK):
        pass

    assert still_held()
    assert registered() == []


def test_the_lock_of_a_server_is_a_registered_model_for_as_long_as_it_is_held(on_a_server: None) -> None:
    with champion_lock("emotions") as still_held:
        assert registered() == [f"emotions{SUFFIX}"]
        assert still_held()

    assert registered() == []


def test_the_lock_of_a_server_is_released_by_an_error(on_a_server: None) -> None:
    with pytest.raises(ValueError, match="in the block"), champion_lock("emotions"):
        raise ValueError("in the block")

    assert registered() == []


def test_who_comes_second_waits_until_the_first_is_done(on_a_server: None) -> None:
    ends: list[str] = []

    def second() -> None:
        with champion_lock("emotions"):
            ends.append("second")

    with champion_lock("emotions"):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.2)
        ends.append("first")
    other.join(10)

    assert ends == ["first", "second"]


def test_the_lock_of_a_process_that_died_is_broken_and_said(
    on_a_server: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(lock_module, "BREAK_SECONDS", 0.1)
    mlflow.MlflowClient().create_registered_model(f"emotions{SUFFIX}")

    with champion_lock("emotions") as still_held:
        assert still_held()

    assert "is broken" in caplog.text


def test_who_slept_while_the_lock_was_broken_is_told_and_leaves_the_lock_of_another(on_a_server: None) -> None:
    client, name = mlflow.MlflowClient(), f"others{SUFFIX}"
    with champion_lock("others") as still_held:
        client.delete_registered_model(name)
        time.sleep(0.01)
        client.create_registered_model(name)
        assert not still_held()

    assert registered() == [name]
