"""SQLite files, looked at from outside: nothing here makes or changes one."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stack.findings import Finding, Status

LOCK_SECONDS = 60.0  # how long a run waits for a database that another process has locked
DATABASE_SECONDS = 2  # for a lock that another process holds, and for reading a large file through
BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
UNREADABLE = ("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_IOERR")
UNDECIDED = ("SQLITE_INTERRUPT", "SQLITE_READONLY")  # out of time; a write that the next connection will undo


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite store, or None where the URI means another kind."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextlib.contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file so that neither it nor a file beside it is made or changed."""
    with path.open("rb") as file:
        keeps_a_log = file.read(19)[18:] == b"\2"  # write-ahead logging, for which even a reader makes files
    unused = keeps_a_log and not os.path.exists(f"{path}-wal")
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if unused else ''}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=DATABASE_SECONDS)) as database:
        yield database


def database_trouble(subject: str, path: Path, if_damaged: str) -> Finding | None:
    """Return what keeps an SQLite file from being used, or None; a large file is read through for a few seconds."""
    unreadable = Finding.wrong(subject, f"{path} cannot be read and written", f"chmod u+rw {path}")
    try:
        if (answer := _quick_check(path)) != "ok":
            return Finding.wrong(subject, f"{path} is damaged: {answer}", if_damaged)
        if not os.access(path, os.W_OK):
            return unreadable
        _ask_to_write(path)
    except sqlite3.Error as error:
        if is_named(error, BUSY):
            fix = f"wait for the run that writes to it, or end the process that `fuser {path}` names"
            return Finding(subject, f"{path} is locked by another process", Status.LOCKED, fix)
        if is_named(error, UNREADABLE):
            return unreadable
        if is_named(error, UNDECIDED):
            return None
        return Finding.wrong(subject, f"{path} is damaged: {error}", if_damaged)
    except OSError:
        return unreadable
    return None


def is_named(error: BaseException, names: tuple[str, ...]) -> bool:
    """Say whether an error is SQLite's and its name starts with one of the names."""
    return str(getattr(error, "sqlite_errorname", "")).startswith(names)


def copy_database(path: Path, copy: Path) -> None:
    """Copy an SQLite file with what stands in its write-ahead log. Raises sqlite3.Error and OSError."""
    with open_to_read(path) as database, contextlib.closing(sqlite3.connect(copy)) as copied:
        database.backup(copied)


def has_tables(path: Path) -> bool:
    """Say whether an SQLite file holds any table."""
    with open_to_read(path) as database:
        return bool(database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def count_changes(path: Path) -> int:
    """Return how often the tables of an SQLite file were made or changed."""
    with open_to_read(path) as database:
        return int(database.execute("PRAGMA schema_version").fetchone()[0])


def wait_for_locks() -> None:
    """Let every connection to an SQLite file wait for a lock as long as ZenML's do; MLflow's give up after 5 s."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "do_connect", _wait_longer):
        event.listen(Engine, "do_connect", _wait_longer)


def _quick_check(path: Path) -> str:
    deadline = time.monotonic() + DATABASE_SECONDS
    with open_to_read(path) as database:
        database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        return str(database.execute("PRAGMA quick_check(1)").fetchone()[0])


def _ask_to_write(path: Path) -> None:
    """Ask for the right to write and give it back; without a change no file is touched."""
    address = path.absolute().as_uri() + "?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=DATABASE_SECONDS)) as database:
        if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")


def _wait_longer(dialect: Any, record: Any, arguments: Any, named: dict[str, Any]) -> None:
    if dialect.name == "sqlite":
        named.setdefault("timeout", LOCK_SECONDS)
