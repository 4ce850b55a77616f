"""The console: last lines, and silence while libraries are imported."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def print_lines(lines: Mapping[str, str]) -> None:
    """Print the last lines of a run below each other, after an empty one."""
    print("", *(f"{name:<27} {value}" for name, value in lines.items()), sep="\n")


@contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Drop what compiled libraries write straight to standard error while they are being imported."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        if enabled:
            os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
