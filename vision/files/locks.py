"""Locks: a file that one process holds at a time; it is free again when the process ends, however it ends."""

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
    """Hold a lock for a block. Raises InUseError at once where another process holds it, and OSError."""
    try:
        held = FileLock(path).acquire(timeout=0)
    except Timeout as error:
        raise InUseError(f"{path} is held by another process") from error
    with held:
        yield


@contextmanager
def wait_for_lock(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold a lock for a block, however long another process holds it; `waiting` is logged where that is so."""
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            logger.info("%s", waiting)
        held = lock.acquire()
    with held:
        yield
