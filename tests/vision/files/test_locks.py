import logging
import threading
from pathlib import Path

import pytest

from vision.files.locks import InUseError, hold_lock, wait_for_lock


def test_a_lock_that_is_held_elsewhere_is_refused_at_once(tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path / "a.lock"),
        pytest.raises(InUseError, match=r"a\.lock is held"),
        hold_lock(tmp_path / "a.lock"),
    ):
        pass


def test_a_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    with hold_lock(tmp_path / "a.lock"):
        pass

    with hold_lock(tmp_path / "a.lock"):
        pass


def test_waiting_for_a_lock_is_logged_and_ends_when_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, release, done = threading.Event(), threading.Event(), threading.Event()

    def holder() -> None:
        with hold_lock(tmp_path / "a.lock"):
            held.set()
            release.wait(10)

    def waiter() -> None:
        with wait_for_lock(tmp_path / "a.lock", "waiting for the other"):
            done.set()

    first, second = threading.Thread(target=holder), threading.Thread(target=waiter)
    first.start()
    held.wait(10)
    with caplog.at_level(logging.INFO):
        second.start()
        assert not done.wait(0.3)
        release.set()
        assert done.wait(10)
    first.join()
    second.join()

    assert "waiting for the other" in caplog.text
