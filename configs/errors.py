"""Exit codes, and the errors that a user can fix, each with its own exit code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNEXPECTED, HELD, REJECTED, INVALID_DATA, DRIFTED, STOPPED_BY_USER = 1, 3, 4, 5, 6, 130


class UserError(Exception):
    """A mistake in what was given: one sentence that names the thing, its value and the way out."""

    exit_code = 2


class InvalidDataError(UserError):
    """The data set failed a critical check."""

    exit_code = INVALID_DATA


@contextmanager
def told_in_a_sentence() -> Iterator[None]:
    """End the program after a UserError's sentence, with its exit code, instead of a traceback."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
