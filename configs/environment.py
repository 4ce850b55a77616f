"""Environment variables: how those of the settings begin, some set for a block, and logins removed from texts."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

ENVIRONMENT_PREFIX = "FACE_EMOTION__"


@contextmanager
def changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a block, then restore what was there."""
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


def shown_address(uri: str) -> str:
    """Return a URI without its user, its password and whatever is asked of it."""
    return without_login(uri).partition("?")[0]


def without_login(text: str) -> str:
    """Return a text without the user and password of the addresses in it.

    A password may contain a slash in a database's address, but not in a web address.
    """
    text = re.sub(r"(https?|file|sqlite)://[^/\s]*@", r"\1://", text)
    return re.sub(r"\b(?!(?:https?|file|sqlite):)([a-z][a-z0-9+.-]*)://\S*@", r"\1://", text)
