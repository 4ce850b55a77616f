"""Places: folders of this machine that the two stores name."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

UNFINISHED_AUDITS = "audits"  # folder in the state folder; an audit's trainings must not push out others


def local_path(place: str) -> Path | None:
    """Return the folder or file of this machine that a path or a file: URI means, or None for another kind of URI."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place)
