"""Paths in the settings: where a relative one starts."""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from configs.errors import UserError

PATHS = ("dataset.path", "state_folder", "tracking.reports_folder", "orchestration.options", "bundle.path",
         "inference.output", "serving.bundle", "serving.log_folder", "preprocessing.relabel")  # fmt: skip
URI = r"[A-Za-z][A-Za-z0-9+.-]+://"
FILES_OR_NAMES = ("classifier.weights", "training.distillation.teacher")
PATHS_OR_ADDRESSES = ("tuning.storage",)
MAY_BE_ADDRESSES = ("dataset.path", *PATHS_OR_ADDRESSES)  # and inference.input, which may be a pattern


def is_uri(value: object) -> bool:
    """Say whether a value is an address such as s3://bucket/faces.zip, and not a path."""
    return isinstance(value, str) and re.match(URI, value) is not None


def resolve_paths(values: Mapping[str, Any], folder: Path, names: Collection[str], above: str = "") -> dict[str, Any]:
    """Return nested settings in which those with these names are full paths.

    Relative paths start at `folder`, and ~ is the home folder. Raises UserError for what cannot be a path.
    """
    resolved: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            value = resolve_paths(value, folder, names, f"{name}.")
        elif name in names and isinstance(value, str | Path):
            value = _resolve(name, value, folder)
        elif name in names and isinstance(value, list | tuple):
            value = [_resolve(name, one, folder) if isinstance(one, str | Path) else one for one in value]
        resolved[key] = value
    return resolved


def expand_home(name: str, value: str | Path) -> str:
    """Return a path whose ~ or ~user at the beginning is the home folder. Raises UserError where that is not known."""
    expanded = os.path.expanduser(value)
    if expanded.startswith("~"):
        raise UserError(f"{name} {value} begins with ~, and no such user has a home folder here; write ./~ for a file")
    return expanded


def _resolve(name: str, value: str | Path, folder: Path) -> str | Path:
    if is_uri(value) and name not in FILES_OR_NAMES:
        if name in MAY_BE_ADDRESSES:
            return value
        raise UserError(f"{name} {value} is an address; expected a path on this machine")
    path = folder / expand_home(name, value)
    try:
        if name in FILES_OR_NAMES:
            return str(path.absolute()) if path.is_file() else value
        if name in PATHS_OR_ADDRESSES:
            return str(path.resolve())
        # a link's own name may say the form of a data set; a store that is reached by a link keeps one name
        return path.absolute() if name == "dataset.path" else path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a null character is a ValueError, a circle of links the last
        raise UserError(f"{name} {str(value)!r} cannot be a path: {error}") from error
