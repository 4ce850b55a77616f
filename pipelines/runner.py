"""Execution: a pipeline runs on the active stack, and what it returns is read."""

import logging
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from configs.environment import changed_environment
from configs.errors import UserError
from configs.loading import PROJECT, flatten
from configs.settings import Settings
from stack.step_cache import forget_lost_steps

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What the last lines of a run say, by name, and the exit code."""

    lines: dict[str, str]
    exit_code: int = 0


def refuse_placeholders(settings: Settings, *arguments: Any) -> None:
    """Raise UserError where a text contains ${NAME}, which ZenML would replace by the environment's value."""
    texts = flatten(settings.model_dump(mode="json"))
    for number, argument in enumerate(arguments):
        texts |= argument if isinstance(argument, dict) else {f"argument {number}": str(argument)}
    for name, text in texts.items():
        if found := re.search(r"\$\{\w+\}", text):
            raise UserError(
                f"{name} contains {found[0]}, which would be replaced by a variable of the environment; rename it"
            )


def execute(pipeline: Any, settings: Settings, *arguments: Any) -> Any:
    """Run a pipeline in the settings' experiment and return its finished run."""
    # late: ZenML reads the environment when it is imported, and the commands import this module before that is set
    from zenml.config.cache_policy import CachePolicy
    from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import MLFlowExperimentTrackerSettings

    from stack.elsewhere import runs_here

    refuse_placeholders(*arguments)
    tracker = MLFlowExperimentTrackerSettings(experiment_name=settings.tracking.experiment_name)
    configured = pipeline.with_options(settings={"experiment_tracker": tracker})
    if not runs_here():
        return _execute_elsewhere(configured, settings, *arguments)
    if settings.orchestration.options is not None:
        raise UserError(
            f"orchestration.options {settings.orchestration.options} is for steps in containers, and the active stack "
            "runs them in this process; name another stack with --stack, or leave the options out"
        )
    # ZenML's cache looks at a step's own source; what the steps call is in vision/
    called = [path.relative_to(PROJECT).as_posix() for path in sorted((PROJECT / "vision").rglob("*.py"))]
    configured = configured.with_options(cache_policy=CachePolicy(file_dependencies=called))
    _forget_lost_steps(configured, *arguments)
    with _same_mlflow():
        finished = configured(*arguments)
    assert finished is not None  # only a schedule gives no run
    return finished


def _execute_elsewhere(pipeline: Any, settings: Settings, *arguments: Any) -> Any:
    """Run a pipeline whose steps have processes of their own; their cache key has the hash of all code in it."""
    from stack.client_files import fetch_files
    from stack.containers import container_options
    from stack.elsewhere import RunElsewhere, step_options

    run = RunElsewhere.of(pipeline.name)
    containers = container_options(settings.orchestration.options)
    configured = pipeline.with_options(run_name=run.name, **step_options(), **containers)
    _forget_lost_steps(configured, *arguments)
    logger.info("the steps run in processes of their own, and say there how far they are; the run is %s", run.name)
    missing: list[str] = []
    try:
        with _same_mlflow():
            finished = run.finish(lambda: configured(*arguments))
    finally:  # of a run that failed as well: the page of the data checks, say
        if found := run.find():
            missing = fetch_files(found, settings)
    if missing:
        raise UserError(f"the run {run.name} is finished, but {'; '.join(missing)}")
    return finished


def _same_mlflow() -> AbstractContextManager[None]:
    """Keep the address of MLflow, which ZenML empties in the environment after each step, for what follows the run."""
    return changed_environment({name: os.environ[name] for name in ("MLFLOW_TRACKING_URI",) if name in os.environ})


def _forget_lost_steps(configured: Any, *arguments: Any) -> None:
    configured.prepare(*arguments)
    steps = {name: invocation.step.configuration for name, invocation in configured.invocations.items()}
    forget_lost_steps([name for name, step in steps.items() if step.enable_cache is not False])


def output(finished: Any, step: str, name: str) -> Any:
    """Load what a step of a finished run returned under a name."""
    return finished.steps[step].outputs[name][0].load()
