import errno
from types import SimpleNamespace

import pytest

from configs.errors import INVALID_DATA, STOPPED_BY_USER, UNEXPECTED, InvalidDataError, UserError
from stack.failures import NOTED, describe_failure, failure_of


@pytest.mark.parametrize(
    ("exception", "code", "said"),
    [
        (InvalidDataError("faces failed 2 checks"), INVALID_DATA, "faces failed 2 checks"),
        (UserError("classifier.weights x does not exist"), UserError.exit_code, "classifier.weights x does not exist"),
        (KeyboardInterrupt(), STOPPED_BY_USER, "the step was stopped"),
        (KeyError("a"), UNEXPECTED, "KeyError: 'a'"),
    ],
)
def test_a_failure_is_noted_with_the_code_that_it_has_in_the_clients_own_process(
    exception: BaseException, code: int, said: str
) -> None:
    assert describe_failure(exception) == {"exit_code": code, "sentence": said}


def test_a_full_disk_is_noted_as_one_sentence() -> None:
    noted = describe_failure(OSError(errno.ENOSPC, "No space left on device"))

    assert noted["exit_code"] == UserError.exit_code
    assert "is full" in noted["sentence"]


def test_a_mistake_behind_an_error_of_zenml_is_noted_as_that_mistake() -> None:
    wrapped = RuntimeError("the hook failed")
    wrapped.__cause__ = UserError("the steps run other code")

    assert describe_failure(wrapped)["sentence"] == "the steps run other code"


def test_a_login_in_an_address_is_not_noted() -> None:
    noted = describe_failure(RuntimeError("no answer from postgresql://user:secret@host/db"))

    assert "secret" not in noted["sentence"]


def test_what_was_noted_becomes_an_error_with_its_code_and_sentence() -> None:
    noted = {"exit_code": INVALID_DATA, "sentence": "faces failed", "step": "accept_data"}
    failure = failure_of(SimpleNamespace(run_metadata={NOTED: noted}))

    assert failure is not None
    assert (failure.exit_code, str(failure)) == (INVALID_DATA, "faces failed")


def test_an_unexpected_failure_names_its_step() -> None:
    noted = {"exit_code": UNEXPECTED, "sentence": "KeyError: 'a'", "step": "train_model"}
    failure = failure_of(SimpleNamespace(run_metadata={NOTED: noted}))

    assert failure is not None
    assert failure.exit_code == UNEXPECTED
    assert "train_model" in str(failure)


def test_a_run_in_which_nothing_was_noted_has_no_failure_to_tell() -> None:
    assert failure_of(SimpleNamespace(run_metadata={})) is None
