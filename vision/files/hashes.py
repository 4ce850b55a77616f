"""Hashes: of files, of facts, and of this project's code."""

import hashlib
import json
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
CODE_FOLDERS = ("configs", "vision", "materializers", "stack", "steps", "pipelines")  # what a run's results depend on
HASH_CHARACTERS = 32


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal characters. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_facts(facts: Any) -> str:
    """Return a hash of anything that JSON can hold, 32 hexadecimal characters; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:HASH_CHARACTERS]


def code_files(project: Path = PROJECT) -> list[Path]:
    """Return every Python file that a run's results depend on, sorted."""
    return sorted(path for folder in CODE_FOLDERS for path in (project / folder).rglob("*.py"))


def hash_code(project: Path = PROJECT) -> str:
    """Return a hash of the names and contents of `code_files`, 32 hexadecimal characters."""
    digest = hashlib.sha256()
    for path in code_files(project):
        digest.update(path.relative_to(project).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:HASH_CHARACTERS]
