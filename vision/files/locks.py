"""Locks: a file that one process holds at a time; it is released when the process ends, even by a crash."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


class InUseError(Exception):
    """Another process holds the lock."""


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold a lock for a block. Raises InUseError at once if another process holds it; OSError."""
    try:
        held = FileLock(path).acquire(timeout=0)
    except Timeout as error:
        raise InUseError(f"{path} is held by another process") from error
    with held:
        yield


@contextmanager
def wait_for_lock(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold a lock for a block. If another process holds it, log `waiting` and wait as long as it takes."""
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            logger.info("%s", waiting)
        held = lock.acquire()
    with held:
        yield
