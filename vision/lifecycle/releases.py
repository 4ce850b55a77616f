"""Releases: the champions that come with the project, as bundles."""

import re
from pathlib import Path

from configs.loading import PROJECT

RELEASED = PROJECT / "released"
RELEASES = "face-emotion-*.zip"


def newest_release() -> Path | None:
    """Return the bundle in RELEASED with the highest version in its name, or None."""
    return max(RELEASED.glob(RELEASES), key=_version_in, default=None)


def _version_in(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.stem))
