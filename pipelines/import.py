"""The import pipeline: register the champion of another store."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from steps.import_champion import import_champion


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def import_bundle(settings: Settings, tags: dict[str, str]) -> None:
    """One step."""
    import_champion(
        settings.tracking.model_name,
        str(settings.bundle.path.resolve()),
        settings.bundle.max_bytes,
        tags,
        str(settings.state_folder),
    )


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack."""
    return Outcome(output(execute(import_bundle, settings, settings, tags), "import_champion", "summary"))
