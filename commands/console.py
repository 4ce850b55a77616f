"""The console: last lines, silence while libraries are imported, and output that never ends a run."""

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO


class Pipe(io.FileIO):
    """A pipe or a file to print to; once nobody reads it any more, or its disk is full, the rest is dropped."""

    def write(self, data: Any) -> int:
        """Write the bytes, or drop them."""
        try:
            return super().write(data)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def secure_output() -> None:
    """Let nothing that is printed change how a run ends, whoever reads it and in whatever encoding.

    What the encoding lacks is written as its escape; what nobody reads is dropped, also where a stream is closed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by whoever started this; the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _secure(sys.stdout, 1), _secure(sys.stderr, 2)


def _secure(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream that fails at no character and, unless it is a screen or stands in for one, at no write."""
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(Pipe(descriptor, "w", closefd=False)), "utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="backslashreplace")
    raw = getattr(stream.buffer, "raw", stream.buffer)  # with PYTHONUNBUFFERED the buffer is the raw file
    if stream.isatty() or type(raw) is not io.FileIO:
        return stream
    stream.flush()
    pipe = Pipe(stream.fileno(), "w", closefd=False)
    buffer: Any = pipe if raw is stream.buffer else io.BufferedWriter(pipe)
    lines, through = stream.line_buffering, stream.write_through
    return io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=lines, write_through=through)


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
