"""The import pipeline: register the champion of another store."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from stack.client_files import send_file
from stack.elsewhere import runs_here
from steps.import_champion import import_champion


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def import_bundle(settings: Settings, tags: dict[str, str]) -> None:
    """One step."""
    import_champion(
        settings.tracking.model_name,
        str(settings.bundle.path.resolve()),
        "" if runs_here() else send_file(settings.bundle.path),
        settings.bundle.max_bytes,
        tags,
    )


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack."""
    return Outcome(output(execute(import_bundle, settings, settings, tags), "import_champion", "summary"))
