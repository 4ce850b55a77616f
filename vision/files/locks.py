"""Locks: a file that one process holds at a time; it is released when the process ends, even by a crash."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from configs.errors import UserError

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
def hold_folder(folder: Path, lock: str, named: str, in_use: str) -> Iterator[None]:
    """Make a folder if it is missing, and hold the lock of that name in it for a block.

    Raises UserError: `in_use` where another process holds it, else that what is `named` cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(hold_lock(folder / lock))
        except InUseError as error:
            raise UserError(in_use) from error
        except OSError as error:
            raise UserError(f"{named} cannot be written: {error.strerror}") from error
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
