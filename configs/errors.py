"""Exit codes, and the errors that a user can fix, each with its own exit code."""

UNEXPECTED, HELD, REJECTED, INVALID_DATA, DRIFTED, STOPPED_BY_USER = 1, 3, 4, 5, 6, 130


class UserError(Exception):
    """A mistake in what was given: one sentence that names the thing, its value and the way out."""

    exit_code = 2


class InvalidDataError(UserError):
    """The data set failed a critical check."""

    exit_code = INVALID_DATA
