"""What the steps share: writing to the MLflow run that they are in, and noting what they used."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from zenml import log_metadata
from zenml.steps import get_step_context

from vision.reports import Report
from vision.resources import measure

logger = logging.getLogger(__name__)


@contextmanager
def measured() -> Iterator[None]:
    """Measure a step's own work; inside a pipeline the figures become the step's metadata."""
    with measure() as usage:
        yield
    try:
        name = get_step_context().step_name
    except RuntimeError:  # the step was called as a function, without a pipeline
        return
    logger.info("%s: done in %.1f s, peak memory %.0f MB", name, usage.seconds, usage.peak_memory_mb)
    log_metadata({"seconds": usage.seconds, "peak_memory_mb": usage.peak_memory_mb})


def run_id() -> str:
    """Return the id of the MLflow run that the step is in."""
    run = mlflow.active_run()
    if run is None:
        raise RuntimeError("this step needs an MLflow run; give its stack an experiment tracker")
    return str(run.info.run_id)


def run_checkpoint(checkpoints_folder: str) -> Path:
    """Return where the MLflow run keeps its best epoch so far."""
    return Path(checkpoints_folder, run_id(), "best.keras")


def report_folder(reports_folder: str) -> Path:
    """Return the folder of the MLflow run's reports, which is made if it is missing."""
    folder = Path(reports_folder, run_id())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_report(report: Report, folder: str, facts: str = "report.json") -> None:
    """Log a report's numbers as metrics, and its facts, figures and page as artifacts under `folder`."""
    mlflow.log_metrics(report.numbers())
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, facts).write_text(json.dumps(report.facts(), indent=1), encoding="utf-8")
        Path(temporary, "page.html").write_text(report.page(), encoding="utf-8")
        for name, png in report.figures.items():
            Path(temporary, name).write_bytes(png)
        mlflow.log_artifacts(temporary, folder)
