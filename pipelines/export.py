"""The export pipeline: write the champion as one file."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from steps.export_champion import export_champion


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def export(settings: Settings, tags: dict[str, str]) -> None:
    """One step."""
    export_champion(settings.tracking.model_name, str(settings.bundle.path.resolve()), settings.bundle.max_bytes, tags)


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack."""
    return Outcome(output(execute(export, settings, settings, tags), "export_champion", "summary"))
