"""Errors that a user can mend; each carries the exit code that run.py ends with."""


class UserError(Exception):
    """A mistake in what was given: one sentence that names the thing, its value and the way out."""

    exit_code = 2


class InvalidDataError(UserError):
    """The data set failed a critical check."""

    exit_code = 5
