"""Places: folders of this machine that the two stores name."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def local_path(place: str) -> Path | None:
    """Return the folder or file of this machine that a path or a file: URI means, or None for another kind of URI."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place)
