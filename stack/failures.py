"""Failures: what kind one is travels as metadata of the pipeline run, from the process of its step to run.py."""

from typing import Any
from uuid import UUID

from zenml import log_metadata
from zenml.steps import get_step_context

from configs.environment import without_login
from configs.errors import STOPPED_BY_USER, UNEXPECTED, UserError
from stack.error_messages import behind

NOTED = "failure"  # key of the pipeline run's metadata
SENTENCE_CHARACTERS = 10_000  # a column of ZenML's server takes six times as many bytes


class FailedElsewhereError(UserError):
    """What a step failed with in a process of its own, with the exit code that it would have had in this one."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def note_failure(exception: BaseException) -> None:
    """Write exit code and sentence of a step's failure to its pipeline run; a hook that ZenML calls in the step."""
    context = get_step_context()
    write_failure(exception, context.step_name, context.pipeline_run.id)


def write_failure(exception: BaseException, step: str, run: UUID) -> None:
    """Write exit code and sentence of a step's failure to the pipeline run with this id."""
    log_metadata(metadata={NOTED: {**describe_failure(exception), "step": step}}, run_id_name_or_prefix=run)


def describe_failure(exception: BaseException) -> dict[str, Any]:
    """Return the exit code that run.py has for an exception, and its sentence, without logins."""
    if known := behind(exception, {}):
        code, sentence = known.exit_code, str(known)
    elif isinstance(exception, KeyboardInterrupt):
        code, sentence = STOPPED_BY_USER, "the step was stopped"
    else:
        code, sentence = UNEXPECTED, f"{type(exception).__name__}: {exception}"
    return {"exit_code": code, "sentence": without_login(sentence)[:SENTENCE_CHARACTERS]}


def failure_of(run: Any) -> FailedElsewhereError | None:
    """Return what a step noted of a pipeline run's failure, or None where none did."""
    noted = run.run_metadata.get(NOTED)
    if noted is None:
        return None
    code, sentence = int(noted["exit_code"]), str(noted["sentence"])
    if code == UNEXPECTED:
        sentence = f"step {noted['step']} failed: {sentence}; the log of the step says where"
    return FailedElsewhereError(sentence, code)
