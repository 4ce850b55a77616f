"""The lock under which the champion changes: one that all see who write to the same store."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from stack.databases import sqlite_path
from stack.error_messages import talking_to_mlflow
from vision.files.locks import wait_for_lock

logger = logging.getLogger(__name__)

LOCK = "champion.lock"  # beside the file of the database
SUFFIX = " champion lock"  # of the registered model that is the lock
BREAK_SECONDS = 60.0  # a change takes a second or two; who holds the lock for longer is taken to be dead
ASK_SECONDS = 0.5
TAKEN, GONE = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"  # MLflow's error codes

Holding = Callable[[], bool]


@contextmanager
def champion_lock(name: str) -> Iterator[Holding]:
    """Wait for the lock of a model's champion and hold it for a block, to which it gives what says whether it still is.

    A store in a file has a lock file beside it. In any other the lock is a registered model that exists as long as the
    lock is held: a name is taken by one at a time, because it is the key of a table in the store's database.
    """
    client = MlflowClient()
    database = sqlite_path(client.tracking_uri)
    if database is not None:
        with wait_for_lock(database.parent / LOCK):
            yield lambda: True
        return
    lock = f"{name}{SUFFIX}"
    with talking_to_mlflow():
        taken = _take(client, lock)
    try:
        yield lambda: _taken_at(client, lock) == taken
    finally:
        with talking_to_mlflow():
            if _taken_at(client, lock) == taken:
                _remove(client, lock)


def _take(client: MlflowClient, lock: str) -> int:
    """Return when the lock was taken, by the store's clock. Break one that stays the same for BREAK_SECONDS."""
    seen, since = None, time.monotonic()
    while True:
        try:
            return int(
                client.create_registered_model(lock, description="held while the champion changes").creation_timestamp
            )
        except MlflowException as error:
            if error.error_code != TAKEN:
                raise
        found = _taken_at(client, lock)
        if found != seen:
            seen, since = found, time.monotonic()
        elif time.monotonic() - since > BREAK_SECONDS:
            logger.warning("the registry's lock %s was held for more than %.0f s and is broken", lock, BREAK_SECONDS)
            _remove(client, lock)
        time.sleep(ASK_SECONDS)


def _taken_at(client: MlflowClient, lock: str) -> int | None:
    """Return when the lock was taken, or None where it is free."""
    try:
        return int(client.get_registered_model(lock).creation_timestamp)
    except MlflowException as error:
        if error.error_code != GONE:
            raise
        return None


def _remove(client: MlflowClient, lock: str) -> None:
    try:
        client.delete_registered_model(lock)
    except MlflowException as error:
        if error.error_code != GONE:  # another process broke it too
            raise
