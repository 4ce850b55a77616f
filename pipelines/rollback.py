"""The rollback pipeline: give the champion's place back to the champion before it."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from steps.roll_back_model import roll_back_model


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def rollback(settings: Settings, tags: dict[str, str]) -> None:
    """One step."""
    roll_back_model(settings.tracking.model_name, settings.rollback, tags)


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack."""
    return Outcome(output(execute(rollback, settings, settings, tags), "roll_back_model", "summary"))
