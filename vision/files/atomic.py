"""Atomic writes: a file or a folder exists under its name only when it is complete."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import UserError

UNFINISHED = "unfinished-"  # prefix of the name while it is being written


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, with the same suffix, and rename it to `path` once it is on the disk."""
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}")
    try:
        write(unfinished)
        wait_for_disk(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def make_parent(path: Path) -> None:
    """Make the folder that a user's new file goes into. Raises UserError where it cannot be one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {path.parent}: {error.strerror}; name another file") from error


@contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` to fill, and rename it to `path` if the block raises nothing."""
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=path.parent))
    try:
        yield unfinished
        for written in (*unfinished.rglob("*"), unfinished):
            wait_for_disk(written)
        unfinished.rename(path)
        wait_for_disk(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def wait_for_disk(path: Path) -> None:
    """Return once a file, or the list of a folder, is on the disk and survives a power failure."""
    if path.is_dir() and os.name == "nt":
        return
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
