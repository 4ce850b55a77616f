"""The export pipeline: write the champion as one file."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from stack.step_places import StepPlaces
from steps.export_champion import export_champion


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def export(settings: Settings, tags: dict[str, str]) -> None:
    """One step."""
    bundle, places = settings.bundle, StepPlaces.of(settings)
    export_champion(settings.tracking.model_name, str(bundle.path.resolve()), bundle.max_bytes, tags, places)


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack."""
    return Outcome(output(execute(export, settings, settings, tags), "export_champion", "summary"))
