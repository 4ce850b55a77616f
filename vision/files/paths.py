"""Paths: image files by name, names that can be shown, walking folders, reading within a limit."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from vision.files.image_kinds import HEAD_BYTES, is_image


def is_hidden(path: PurePosixPath) -> bool:
    """Say whether a part of the name starts with a point, or is one that macOS adds to archives."""
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in path.parts)


def is_image_file(path: Path) -> bool:
    """Say whether a file is an image by its name or its first bytes."""
    return is_image(path, lambda: read_head(path))


def printable(text: str) -> str:
    r"""Return a name that can be stored and shown on one line: other characters become `\n`, `\x1b`, `\udce9`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def walk(root: Path) -> Iterator[Path]:
    """Yield every file below `root`. Follow links to folders, but enter no folder twice. Raises OSError."""

    def fail(error: OSError) -> NoReturn:
        raise error

    seen = set()
    for folder, subfolders, names in os.walk(root, onerror=fail, followlinks=True):
        seen.add(os.path.realpath(folder))
        subfolders[:] = [name for name in subfolders if os.path.realpath(Path(folder, name)) not in seen]
        yield from (Path(folder, name) for name in names)


def too_large(size: int, limit: int, section: str = "dataset") -> ValueError:
    """Return the error of a file that is too large to read; `section` names the settings that hold the limit."""
    return ValueError(f"{size} bytes, more than {section}.max_file_bytes {limit}")


def read_file(path: Path, limit: int, section: str = "dataset") -> bytes | Exception:
    """Return a file's content, or the reason why it was not read; `limit` is in bytes."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return ValueError("not a regular file")  # reading a pipe would wait forever
        return path.read_bytes() if status.st_size <= limit else too_large(status.st_size, limit, section)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character, as a table may hold it
        return error


def read_head(path: Path) -> bytes:
    """Return the first HEAD_BYTES of a regular file; nothing of a pipe, a device and what cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:  # such as a link to nowhere, which is counted among the files that were left out
        return b""
