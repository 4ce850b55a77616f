"""Faults of the machine: what a full disk, a lost server, a lock or too little memory means, in one sentence."""

import errno
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.settings import Settings

logger = logging.getLogger(__name__)

LOCK_SECONDS = 60.0  # how long a run waits for a database that another process has locked
GOES_ON = "what was finished is kept, and the same command goes on from there"
FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")
READ_ONLY = ("Read-only file system", "attempt to write a readonly database")
NO_ANSWER = ("API request to", "Max retries exceeded", "Connection refused", "Connection reset", "Connection aborted")
DAMAGED = ("database disk image is malformed", "file is not a database")
NO_MEMORY = ("MemoryError", "ResourceExhaustedError", "Cannot allocate memory", "bad_alloc")
WORKER_DIED = ("TerminatedWorkerError", "BrokenProcessPool")


@contextmanager
def explained(folders: Mapping[str, Path], uri: str = "") -> Iterator[None]:
    """Turn errors of the machine into a UserError; `folders` are what is written to, by setting, `uri` is MLflow's.

    A step's UserError that is hidden behind an error of the cleaning up after it is raised again.
    """
    try:
        yield
    except Exception as error:
        chain = list(_chain(error))
        hidden = [found for found in chain if isinstance(found, UserError)]
        if hidden:
            raise hidden[0] from error
        reason = explain(chain, folders, uri)
        if reason is None:
            raise
        raise UserError(reason) from error


def explain(chain: list[BaseException], folders: Mapping[str, Path], uri: str) -> str | None:
    """Return the sentence for the first error in the chain that is the machine's, or None where none is."""
    said = "\n".join(f"{type(error).__name__}: {error}" for error in chain)
    numbers = {error.errno for error in chain if isinstance(error, OSError)}
    if numbers & {errno.ENOSPC, errno.EDQUOT} or any(text in said for text in FULL):
        setting, folder, free = _fullest(folders)
        return (
            f"the disk of {folder} is full ({free / 1e6:,.1f} MB free); free some space there, or set --{setting} to a "
            f"folder on another disk; {GOES_ON}"
        )
    if errno.EROFS in numbers or any(text in said for text in READ_ONLY):
        places = ", ".join(f"--{setting} {folder}" for setting, folder in folders.items())
        return f"a folder has become read-only; make it writable again, or set another: {places}; {GOES_ON}"
    if any(text in said for text in WORKER_DIED):
        return f"a worker process was killed, most likely for want of memory; lower --dataset.workers; {GOES_ON}"
    if errno.ENOMEM in numbers or any(text in said for text in NO_MEMORY):
        return (
            "the memory is not enough; lower --dataset.workers (each is a process), --training.batch_size and "
            f"--evaluation.batch_size, or end other programs; {GOES_ON}"
        )
    if any(text in said for text in NO_ANSWER):
        server = uri or "the MLflow server"
        return f"{server} does not answer any more; {GOES_ON} once it answers again (--doctor looks whether it does)"
    if "database is locked" in said:
        return (
            f"a database of the state folder was locked by another process for longer than {LOCK_SECONDS:.0f} s; "
            f"--doctor says which; {GOES_ON}"
        )
    if any(text in said for text in DAMAGED):
        return "a database of the state folder is damaged; --doctor says which, and how to mend it"
    return None


def check_stores(settings: Settings) -> None:
    """Raise UserError where a database is damaged, or locked for long; ZenML and MLflow would try for minutes."""
    from stack.health import check_stack, check_store

    deadline, said = time.monotonic() + LOCK_SECONDS, False
    while True:
        stack, uri = check_stack(settings.state_folder)
        store = stack if stack.fix or uri.startswith("http") else check_store(uri, settings.tracking.experiment_name)
        if not store.fix:
            return
        if "is locked by another process" not in store.found or time.monotonic() > deadline:
            raise UserError(f"{store.found}; {store.fix}")
        if not said:
            logger.warning("%s; waiting up to %.0f s for it", store.found, LOCK_SECONDS)
            said = True
        time.sleep(0.5)


def wait_for_locks() -> None:
    """Let every connection to an SQLite file wait for a lock as long as ZenML's do; MLflow's give up after 5 s."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "do_connect", _wait_longer):
        event.listen(Engine, "do_connect", _wait_longer)


def _wait_longer(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> None:
    if dialect.name == "sqlite":
        named.setdefault("timeout", LOCK_SECONDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _fullest(folders: Mapping[str, Path]) -> tuple[str, Path, int]:
    """Return setting, folder and free bytes of the folder with the least room; for temporary files it is TMPDIR."""
    places = {**folders, "state_folder": folders.get("state_folder", Path(tempfile.gettempdir()))}
    found = [(setting, folder, shutil.disk_usage(folder).free) for setting, folder in places.items() if folder.exists()]
    return min(found, key=lambda place: place[2])
