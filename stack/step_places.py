"""Places of a step: the client's folders, or where steps run elsewhere, a folder of their process and the stores."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import mlflow

from configs.section import Section
from configs.settings import Settings
from stack.elsewhere import runs_here
from stack.error_messages import talking_to_mlflow
from stack.run_log import run_id

# folders among the MLflow run's artifacts, of what the client gets where steps run elsewhere
REPORTS, PREDICTIONS, BUNDLE = "reports", "predictions", "bundle"


class StepPlaces(Section):
    """Where the steps of a run keep files. The folders are the client's; `elsewhere` no step can see them."""

    state_folder: str
    reports_folder: str
    elsewhere: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "StepPlaces":
        """Return the places of a run on the active stack."""
        folders = {
            "state_folder": str(settings.state_folder),
            "reports_folder": str(settings.tracking.reports_folder),
        }
        return cls(**folders, elsewhere=not runs_here())

    @property
    def work(self) -> Path:
        """The folder of checkpoints, features and unfinished trainings; elsewhere it goes with the step's machine."""
        return Path(tempfile.gettempdir(), "face-emotion") if self.elsewhere else Path(self.state_folder)

    def run_checkpoint(self) -> Path:
        """Return where the MLflow run keeps its best epoch so far."""
        return self.work / "checkpoints" / run_id() / "best.keras"

    def write_report(self, name: str, text: str) -> str:
        """Write a report of the MLflow run, or where steps run elsewhere, log it; return where the client has it."""
        file = Path(self.reports_folder, run_id(), name)
        if self.elsewhere:
            with talking_to_mlflow():
                mlflow.log_text(text, f"{REPORTS}/{name}")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return str(file)

    def job_folder(self, folder: Path) -> Path:
        """Return where a step writes what the client has in `folder` in the end."""
        return self.work / PREDICTIONS / folder.name if self.elsewhere else folder

    def keep_predictions(self, folder: Path, left_out: Sequence[str] = ()) -> None:
        """Where steps run elsewhere, log a job's folder for the client and for later steps, but not `left_out`."""
        if not self.elsewhere:
            return
        with tempfile.TemporaryDirectory() as temporary, talking_to_mlflow():
            copy = Path(temporary, folder.name)
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*left_out))
            mlflow.log_artifacts(temporary, PREDICTIONS)

    def bundle_file(self, path: str) -> Path:
        """Return where a step writes the bundle that the client has at `path` in the end."""
        file = self.work / BUNDLE / Path(path).name if self.elsewhere else Path(path)
        if self.elsewhere:
            file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def keep_bundle(self, file: Path) -> None:
        """Where steps run elsewhere, log a bundle for the client."""
        if self.elsewhere:
            with talking_to_mlflow():
                mlflow.log_artifact(str(file), BUNDLE)

    def find_predictions(self, folder: str, name: str) -> Path:
        """Return a file of the job's folder that an earlier step of the run kept."""
        if not self.elsewhere:
            return Path(folder, name)
        with talking_to_mlflow():
            artifact = f"{PREDICTIONS}/{Path(folder).name}/{name}"
            return Path(mlflow.artifacts.download_artifacts(run_id=run_id(), artifact_path=artifact))
