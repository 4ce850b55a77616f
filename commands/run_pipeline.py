"""Running a pipeline: environment and stack are prepared, and the last lines printed."""

import importlib
import logging
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from commands.alerts import without_secret_settings
from commands.command_line import Command
from commands.console import print_lines, quiet
from commands.dataset import Loaded, load_with_dataset
from configs.errors import UserError
from configs.loading import PROJECT, load_settings
from configs.paths import is_uri
from configs.pipelines import PIPELINES, Pipeline
from configs.settings import Settings
from pipelines.runner import Outcome

Run = Callable[[Settings, dict[str, str]], Outcome]


@dataclass(frozen=True)
class Job:
    """What runs on the stack; `load` imports it, once the environment is set that libraries read when imported.

    `announce` says what the user should know once nothing is left that could refuse the run.
    """

    name: str
    load: Callable[[], Run]
    tags: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[], None] = lambda: None


def run(command: Command) -> Outcome:
    """Run the pipeline that the command names."""
    name = command.pipeline
    if name not in PIPELINES:
        asked = f"unknown pipeline {name!r}" if name else "no pipeline was named"
        raise UserError(f"{asked}; choose one with --pipeline: {', '.join(PIPELINES)}")
    chosen = PIPELINES[name]
    if chosen.reads_dataset:
        loaded = load_with_dataset(command, chosen.falls_back_to_demo)
    else:
        loaded = Loaded(load_settings(command.config, command.given))
    settings = loaded.settings
    if chosen.reads_bundle:
        settings = with_released(settings)
    check_inputs(chosen, settings)
    job = Job(name, lambda: _run_of(chosen.module), announce=loaded.announce)
    return run_on_stack(job, without_secret_settings(settings), command.debug)


def with_released(settings: Settings) -> Settings:
    """Return the settings with the newest released bundle, where none was named and none was exported."""
    from vision.lifecycle.releases import newest_release

    unnamed = load_settings([], {}).bundle.path
    released = newest_release()
    if settings.bundle.path != unnamed or unnamed.is_file() or released is None:
        return settings
    return settings.model_copy(update={"bundle": settings.bundle.model_copy(update={"path": released})})


def check_inputs(pipeline: Pipeline, settings: Settings) -> None:
    """Raise UserError where what the pipeline reads is not there, before the libraries take their time to load."""
    bundle = settings.bundle.path
    if pipeline.reads_bundle and not bundle.is_file():
        raise UserError(f"bundle.path {bundle} is not a file; name what --pipeline export wrote with --bundle.path")
    if pipeline.reads_pictures and is_uri(settings.inference.input.strip()):
        from vision.inference.inputs import check_address

        check_address(settings.inference)
    elif pipeline.reads_pictures and not os.path.exists(os.path.expanduser(settings.inference.input.strip() or "-")):
        from vision.inference.inputs import open_pictures

        open_pictures(settings.inference)  # a pattern is looked up, and what does not exist is refused
    if pipeline.reads_pictures and settings.inference.engine == "ray":
        from stack.ray_cluster import check_ray

        check_ray(settings.inference.ray)


def run_on_stack(job: Job, settings: Settings, debug: bool) -> Outcome:
    """Prepare environment and stack, run the job and print its last lines."""
    from stack.artifact_store import talking_to_store
    from stack.databases import wait_for_locks
    from stack.error_messages import explained
    from stack.health import check_stores
    from stack.inherited import check_registry, set_aside
    from stack.local_stack import check_writable, prepare_environment, prepare_stack, start_lock

    folders = {"state_folder": settings.state_folder, "tracking.reports_folder": settings.tracking.reports_folder}
    for setting, folder in folders.items():
        check_writable(setting, folder)
    set_aside(settings.state_folder)
    prepare_environment(PROJECT, settings.state_folder, debug)
    with explained(folders):
        with start_lock(settings.state_folder):
            check_stores(settings)
            wait_for_locks()
            with quiet(not debug):
                import keras

                run = job.load()
            keras.config.disable_interactive_logging()
            store = prepare_stack(settings.state_folder, settings.tracking.experiment_name, settings.stores.artifacts)
        check_registry(store.uri)  # again: of the user's own ZenML only now the store is known
        job.announce()
        artifacts = f", and what they return to {store.artifacts}" if store.artifacts else ""
        print(f"runs and models go to {store.shown}, steps to the ZenML stack {store.stack}{artifacts}", flush=True)
        _show_own_messages(debug)
        with talking_to_store(store.artifacts):
            outcome = run(settings, {"git_commit": git_commit(), "pipeline": job.name, **job.tags})
        experiment = {"experiment": settings.tracking.experiment_name}
        print_lines({**experiment, **outcome.lines, "open the UI": store.ui_command})
        return outcome


def git_commit() -> str:
    """Return the project's commit, marked where files differ from it, or "none" outside a git checkout."""

    def git(*arguments: str) -> str:
        line = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _run_of(module: str) -> Run:
    run: Run = importlib.import_module(module).run
    return run


def _show_own_messages(debug: bool) -> None:
    for package in ("vision", "stack", "steps", "pipelines", "commands"):
        logging.getLogger(package).setLevel(logging.INFO)
    logging.getLogger("tensorflow").setLevel(logging.INFO if debug else logging.ERROR)  # it sets its own level
