"""The environment: changed for a while, and kept out of what others read."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a block, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def without_login(text: str) -> str:
    """Return a text without user and password of the addresses in it.

    A password may hold a slash in a database's address, though not in a web address.
    """
    text = re.sub(r"(https?|file|sqlite)://[^/\s]*@", r"\1://", text)
    return re.sub(r"\b(?!(?:https?|file|sqlite):)([a-z][a-z0-9+.-]*)://\S*@", r"\1://", text)
