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
    """Yield every file below `root`, as walk_folders finds their folders. Raises OSError."""
    return (folder / name for folder, names in walk_folders(root) for name in names)


def walk_folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield `root` and every folder below it with the names of its files, both in order. Raises OSError.

    Links to folders are followed after all else, and no folder is entered twice: so it has its own name where a link
    leads to it as well.
    """

    def fail(error: OSError) -> NoReturn:
        raise error

    seen: set[str] = set()
    starts = [root]
    for start in starts:  # which grows
        if os.path.realpath(start) in seen:
            continue
        for folder, subfolders, names in os.walk(start, onerror=fail, followlinks=False):
            seen.add(os.path.realpath(folder))
            paths = [Path(folder, name) for name in sorted(subfolders)]
            starts += [path for path in paths if path.is_symlink()]
            subfolders[:] = [
                path.name for path in paths if not path.is_symlink() and os.path.realpath(path) not in seen
            ]
            yield Path(folder), sorted(names)


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
