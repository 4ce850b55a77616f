"""Elsewhere: pipelines whose steps run in processes of their own, such as containers, are set up and awaited."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from configs.errors import UNEXPECTED, UserError
from stack.failures import FailedElsewhereError, failure_of, note_failure
from stack.local_stack import keep_login, library_defaults
from vision.files.hashes import hash_code

logger = logging.getLogger(__name__)

CODE = "FACE_EMOTION_CODE"  # hash of the code that the client has
POLL_SECONDS = 5.0
OWN_PACKAGES = ("vision", "stack", "steps")


def runs_here() -> bool:
    """Say whether the active stack runs steps in this very process, as ZenML's local orchestrator does."""
    from zenml.client import Client

    return bool(Client().active_stack.orchestrator.flavor == "local")


def step_environment() -> dict[str, str]:
    """Return the environment that a step's process starts with.

    It travels with the pipeline, because libraries read it when they are imported, before any line of ours runs. The
    hash of the code is part of each step's cache key.
    """
    return {
        **library_defaults(),
        "ZENML_LOGGING_VERBOSITY": "INFO",  # what a container says is all that there is to see of a step
        "TF_ENABLE_ONEDNN_OPTS": "1",  # whatever processor the client has
        "MPLBACKEND": "Agg",
        "KERAS_BACKEND": "tensorflow",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
        CODE: hash_code(),
    }


def enter_step_process() -> None:
    """Prepare a step's process; a hook that ZenML calls there before the step.

    Raises UserError where its code is not the client's: tags and cache would say what is not so.
    """
    for package in OWN_PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)
    keep_login()
    expected, found = os.environ.get(CODE), hash_code()
    if expected and expected != found:
        raise UserError(
            f"the steps run other code ({found[:12]}) than the command was given with ({expected[:12]}); build the "
            "image again from this checkout, or run from the checkout that it was built from"
        )


def step_options() -> dict[str, Any]:
    """Return the options of a pipeline whose steps run elsewhere."""
    return {"environment": step_environment(), "on_init": enter_step_process, "on_failure": note_failure}


@dataclass(frozen=True)
class RunElsewhere:
    """A run by its name, under which it is found whatever the orchestrator raises."""

    name: str

    @classmethod
    def of(cls, pipeline: str) -> "RunElsewhere":
        """Return a run with a new name, in the form of ZenML's own."""
        return cls(f"{pipeline}-{datetime.now(UTC):%Y_%m_%d-%H_%M_%S_%f}")

    def finish(self, start: Callable[[], object]) -> Any:
        """Start the run, wait for its end and return it. Raises FailedElsewhereError as its step failed."""
        try:
            start()
            run = self._wait()
        except KeyboardInterrupt:
            logger.warning("the run %s may continue where its steps run; `zenml pipeline runs stop` ends it", self.name)
            raise
        except Exception as error:  # each orchestrator has its own for a step that failed; the step said why
            found = self.find()
            failure = failure_of(found) if found else None
            if failure is None:
                raise
            raise failure from error
        if run.status.is_successful:
            return run
        raise failure_of(run) or FailedElsewhereError(
            f"the run {self.name} is {run.status.value}, and no step could say why; the logs of its steps may, and "
            "--doctor says whether the stores answer (a step that is out of memory, or lost its machine, is silent)",
            UNEXPECTED,
        )

    def _wait(self) -> Any:
        while not (run := self.find()).status.is_finished:
            time.sleep(POLL_SECONDS)
        return run

    def find(self) -> Any:
        """Return the run as ZenML knows it, or None where it was not made."""
        from zenml.client import Client

        try:
            return Client().get_pipeline_run(self.name)
        except KeyError:
            return None
