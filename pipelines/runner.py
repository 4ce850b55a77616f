"""Execution: how run.py starts a pipeline on the active stack, and what it gets back."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zenml.config.cache_policy import CachePolicy
from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import MLFlowExperimentTrackerSettings

from configs.errors import UserError
from configs.loading import flatten
from configs.settings import Settings

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Outcome:
    """What the last lines of a run say, by name, and the exit code."""

    lines: dict[str, str]
    exit_code: int = 0


def refuse_placeholders(settings: Settings, *arguments: Any) -> None:
    """Raise UserError where a text says ${NAME}: ZenML would put the environment's value, a password perhaps, there."""
    texts = flatten(settings.model_dump(mode="json"))
    for number, argument in enumerate(arguments):
        texts |= argument if isinstance(argument, dict) else {f"argument {number}": str(argument)}
    for name, text in texts.items():
        if found := re.search(r"\$\{\w+\}", text):
            raise UserError(f"{name} holds {found[0]}, which would become a variable of the environment; rename it")


def execute(pipeline: Any, settings: Settings, *arguments: Any) -> Any:
    """Run a pipeline in the settings' experiment and return its finished run."""
    refuse_placeholders(*arguments)
    tracker = MLFlowExperimentTrackerSettings(experiment_name=settings.tracking.experiment_name)
    # ZenML's cache looks at a step's own source; what the steps call is in vision/
    called = [path.relative_to(PROJECT).as_posix() for path in sorted((PROJECT / "vision").rglob("*.py"))]
    configured = pipeline.with_options(
        settings={"experiment_tracker": tracker}, cache_policy=CachePolicy(file_dependencies=called)
    )
    finished = configured(*arguments)
    assert finished is not None  # only a schedule gives no run
    return finished


def output(finished: Any, step: str, name: str) -> Any:
    """Load what a step of a finished run returned under a name."""
    return finished.steps[step].outputs[name][0].load()
