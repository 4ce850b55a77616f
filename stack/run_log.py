"""The MLflow run that a step is in: what the steps write to it, and what they note of their own work."""

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from zenml import log_metadata
from zenml.steps import get_step_context

from configs.environment import changed_environment, without_login
from configs.loading import KEPT_SETTINGS
from stack.error_messages import StoreError, reason_of, talking_to_mlflow
from vision.files.usage import measure
from vision.reporting.reports import Report

logger = logging.getLogger(__name__)

SEND_SECONDS = 60.0  # how long the end of a training waits for a store that does not answer
BRIEFLY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # seconds


class EpochLog:
    """Sends every epoch's metrics to the MLflow run, and keeps them as long as the store does not answer.

    A training never waits for the store for longer than one short request an epoch.
    """

    def __init__(self) -> None:
        self.run, self.missing = run_id(), False
        self.waiting: list[list[Metric]] = []

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self.waiting.append([Metric(name, value, now, epoch) for name, value in metrics.items()])
        self.send()

    def send(self) -> MlflowException | None:
        """Send what waits, oldest first; return why that stopped, or None where nothing waits any more."""
        client = mlflow.MlflowClient()
        with changed_environment(BRIEFLY):  # MLflow reads these anew for each request
            while self.waiting:
                try:
                    client.log_batch(self.run, self.waiting[0])
                except MlflowException as error:
                    if not self.missing:
                        reason = reason_of(error)
                        logger.warning("MLflow does not take the metrics (%s); they are kept and sent later", reason)
                    self.missing = True
                    return error
                self.waiting.pop(0)
        if self.missing:
            logger.info("MLflow answers again and has the metrics of every epoch")
        self.missing = False
        return None

    def finish(self) -> None:
        """Send what still waits. Raises StoreError where the store does not answer for SEND_SECONDS."""
        deadline = time.monotonic() + SEND_SECONDS
        while error := self.send():
            if time.monotonic() > deadline:
                store = without_login(mlflow.get_tracking_uri())
                raise StoreError(
                    f"{store} did not take the metrics of {len(self.waiting)} epochs within {SEND_SECONDS:.0f} s of "
                    "the training's end; the training is kept, and the same command resumes there without training "
                    "again, once the store answers"
                ) from error
            time.sleep(1.0)


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


def keep_planned(phases: list[dict[str, Any]]) -> None:
    """Put into the settings that the run keeps the phases that were planned, in place of `training.minutes`.

    A reproduction, which may run on another machine, then trains as many epochs.
    """
    run = run_id()
    with talking_to_mlflow():
        kept = mlflow.artifacts.load_dict(f"runs:/{run}/{KEPT_SETTINGS}")
        kept["training"] |= {"minutes": 0.0, "phases": phases}
        mlflow.log_dict(kept, KEPT_SETTINGS)
        mlflow.set_tag("planned_epochs", ", ".join(f"{phase['name']} {phase['epochs']}" for phase in phases))


def log_report(report: Report, folder: str, facts: str = "report.json") -> None:
    """Log a report's numbers as metrics, and its facts, figures and page as artifacts under `folder`."""
    with tempfile.TemporaryDirectory() as temporary, talking_to_mlflow():
        mlflow.log_metrics(report.numbers())
        Path(temporary, facts).write_text(json.dumps(report.facts(), indent=1), encoding="utf-8")
        Path(temporary, "page.html").write_text(report.page(), encoding="utf-8")
        for name, png in report.figures.items():
            Path(temporary, name).write_bytes(png)
        mlflow.log_artifacts(temporary, folder)
