"""Stores that lie on the disk: changed, and compared with how they were."""

import sqlite3
from pathlib import Path


def change(path: Path, *commands: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    for line in commands:
        database.execute(line)
    database.close()


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.read_bytes()) for path in files}
