"""Command line: `python run.py --pipeline NAME`. Heavy imports come after the arguments are understood."""

import argparse
import contextlib
import gc
import importlib
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from commands import alerts
from configs.errors import STOPPED_BY_USER, UNEXPECTED, UserError
from configs.loading import DEMO, FOLDER, flatten, load_settings, pipeline_names
from configs.settings import ENVIRONMENT_PREFIX, AlertSettings, Settings

PROJECT = Path(__file__).resolve().parent
FORMATS = ("text", "markdown", "json", "html")


@dataclass(frozen=True)
class Ending:
    """How a command ended: its exit code, and its last lines by name."""

    exit_code: int
    lines: Mapping[str, str] = field(default_factory=dict)


class Parser(argparse.ArgumentParser):
    """Adds pipelines, settings and exit codes to the help, and reports mistakes as UserError."""

    def format_help(self) -> str:
        names = pipeline_names()
        values = flatten(load_settings([], {}).model_dump(mode="json"), lists=False)
        width = max(len(name) for name in values)
        return "\n".join(
            [
                super().format_help(),
                f"pipelines: {', '.join(names)}\n",
                "settings, with the values of configs/*.yaml (bounds in configs/settings.py):",
                *(f"  --{name:<{width}}  {value}" for name, value in values.items()),
                f"\nAlso as environment variables, for example {ENVIRONMENT_PREFIX}TRAINING__BATCH_SIZE=32.",
                "Strongest first: command line, environment, --config files (the last first), configs/*.yaml.",
                "\nexit codes: 0 done (training: promoted), 1 unexpected error, 2 wrong settings or input, 3 held,",
                "4 rejected, 5 invalid data, 6 drifted, 130 Ctrl-C\n",
            ]
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see run.py --help")


def parse_arguments(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the options, and the settings given as `--section.field VALUE` as a nested dictionary."""
    parser = Parser(
        prog="run.py", description="Face-emotion detection, from raw faces to a model in MLflow.", allow_abbrev=False
    )
    parser.add_argument("--pipeline", metavar="NAME", help="the pipeline to run")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="YAML over the pipeline's own; repeatable",
    )
    parser.add_argument(
        "--bare",
        metavar="FOLDER",
        type=Path,
        help="train without ZenML and MLflow, by any of Keras's backends (KERAS_BACKEND); write to FOLDER",
    )
    parser.add_argument(
        "--reproduce", metavar="RUN_ID", help="train again by what an MLflow run keeps, and say what differs"
    )
    parser.add_argument("--doctor", action="store_true", help="look over this machine and say what to mend")
    parser.add_argument("--compare", action="store_true", help="print champion, challenger and the last runs")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of --compare")
    parser.add_argument("--debug", action="store_true", help="show stack traces and the libraries' own messages")
    options, rest = parser.parse_known_args(arguments)
    given: dict[str, Any] = {}
    while rest:
        name, separator, value = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise UserError(f"unexpected argument {name!r}; settings are given as --section.field VALUE")
        if not separator:
            if not rest:
                raise UserError(f"{name} has no value; settings are given as --section.field VALUE")
            value = rest.pop(0)
        *sections, field = name.removeprefix("--").split(".")
        place = given
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(f"{name}: {section} was given a value before, so it is no section")
        place[field] = parse_value(name, value)
    return options, given


def parse_value(name: str, text: str) -> Any:
    """Read lists and mappings as YAML; pydantic turns other text into numbers and switches."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name} {text} is no valid YAML: {' '.join(str(error).split())}") from error


def absolute(named: str) -> str:
    """Return the full path of a file; other names, such as imagenet, as they are."""
    return str(Path(named).absolute()) if Path(named).is_file() else named


def located(settings: Settings) -> Settings:
    """Return the settings with data set, weights and teacher found and named by full paths: a run keeps them."""
    from vision.data.readers import locate_dataset
    from vision.model.weight_files import check_weights

    check_weights(settings.classifier.weights)
    dataset = locate_dataset(settings.dataset)
    distillation = settings.training.distillation
    distillation = distillation.model_copy(update={"teacher": absolute(distillation.teacher)})
    weights = absolute(settings.classifier.weights)
    return settings.model_copy(
        update={
            "dataset": dataset.model_copy(update={"path": dataset.path.absolute()}),
            "classifier": settings.classifier.model_copy(update={"weights": weights}),
            "training": settings.training.model_copy(update={"distillation": distillation}),
        }
    )


def settings_or_demo(options: argparse.Namespace, given: dict[str, Any]) -> Settings:
    """Return the settings with the data set located, or those of the demo if there is none where the YAML looks.

    The demo is for a first look: only `--pipeline training` falls back to it.
    """
    from vision.data.readers import find_dataset

    settings = load_settings(options.config, given)
    dataset = settings.dataset
    default = Path(yaml.safe_load((FOLDER / "training.yaml").read_text(encoding="utf-8"))["dataset"]["path"])
    if dataset.path == default:  # the YAML's own path is meant from the project, one that was given from where we are
        dataset = dataset.model_copy(update={"path": PROJECT / default})
    nothing = dataset.reader == "auto" and dataset.path == PROJECT / default and not find_dataset(dataset.path)
    if nothing and options.pipeline == "training":
        settings = load_settings([DEMO, *options.config], given)
        dataset = settings.dataset
        line = f"DEMO: {default}/ holds no data set, so faces are DRAWN. Train on real faces with --dataset.path PATH"
        print("=" * len(line), line, "=" * len(line), sep="\n", flush=True)
    return located(settings.model_copy(update={"dataset": dataset}))


@contextlib.contextmanager
def quiet(enabled: bool) -> Iterator[None]:
    """Drop what compiled libraries write straight to standard error while they are being imported."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        if enabled:
            os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


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


def with_absolute_folders(settings: Settings) -> Settings:
    """Return the settings with the folders that are meant from the project."""
    tracking = settings.tracking
    folders = {"reports_folder": (PROJECT / tracking.reports_folder).resolve()}
    state = (PROJECT / settings.state_folder).resolve()
    return settings.model_copy(update={"state_folder": state, "tracking": tracking.model_copy(update=folders)})


def run_pipeline(name: str, settings: Settings, debug: bool, **tags: str) -> Ending:
    """Prepare environment and stack, run the pipeline and print the last lines."""
    from stack.error_messages import check_stores, explained, wait_for_locks
    from stack.local_stack import check_writable, prepare_environment, prepare_stack, start_lock

    settings = with_absolute_folders(settings)
    folders = {"state_folder": settings.state_folder, "tracking.reports_folder": settings.tracking.reports_folder}
    for setting, folder in folders.items():
        check_writable(setting, folder)
    prepare_environment(PROJECT, settings.state_folder, debug)
    with explained(folders, os.environ.get("MLFLOW_TRACKING_URI", "")):
        with start_lock(settings.state_folder):
            check_stores(settings)
            wait_for_locks()
            with quiet(not debug):
                import keras

                module = importlib.import_module(
                    "commands.reproduce" if name == "reproduction" else f"pipelines.{name}"
                )
            keras.config.disable_interactive_logging()
            store = prepare_stack(settings.state_folder, settings.tracking.experiment_name)
        for package in ("vision", "stack", "steps", "pipelines", "commands"):
            logging.getLogger(package).setLevel(logging.INFO)
        logging.getLogger("tensorflow").setLevel(logging.INFO if debug else logging.ERROR)  # it sets its own level
        outcome = module.run(settings, {"git_commit": git_commit(), "pipeline": name, **tags})
        lines = {"experiment": settings.tracking.experiment_name, **outcome.lines, "open the UI": store.ui_command}
        print("", *(f"{key:<27} {value}" for key, value in lines.items()), sep="\n")
        return Ending(outcome.exit_code, outcome.lines)


def train_bare(folder: Path, settings: Settings, debug: bool) -> Ending:
    """Train by the settings without a pipeline; print where the classifier is and how it does."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, format="%(message)s")
    logging.getLogger("vision").setLevel(logging.INFO)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    with quiet(not debug):
        from vision.standalone import train_recipe
    lines = train_recipe(settings, folder)
    print("", *(f"{key:<27} {value}" for key, value in lines.items()), sep="\n")
    return Ending(0, lines)


def reproduce(options: argparse.Namespace, given: dict[str, Any], debug: bool) -> Ending:
    """Train by the settings of a former run; only the command line is stronger than they are."""
    from stack.local_stack import quiet_libraries

    if options.config or options.pipeline:
        raise UserError("--reproduce takes pipeline and settings from the run; change single ones by --section.field")
    quiet_libraries(debug)
    with quiet(not debug):
        from commands import reproduce as reproduction
        from stack.health import check_stack

    here = with_absolute_folders(load_settings([], given))
    _, uri = check_stack(here.state_folder)
    former = reproduction.recall(options.reproduce, here.tracking.experiment_name, uri)
    settings = alerts.without_alerts(located(reproduction.rebuild(former, given)))
    return run_pipeline("reproduction", settings, debug, **{reproduction.REPRODUCES: former.run_id})


def look(options: argparse.Namespace, settings: Settings, debug: bool) -> Ending:
    """Print the doctor's findings or the comparison of runs; neither runs nor changes anything."""
    from stack.local_stack import quiet_libraries

    quiet_libraries(debug)
    if options.doctor:
        from stack import doctor

        findings = doctor.examine(settings, PROJECT, settings.state_folder)
        print(doctor.render(findings))
        return Ending(UserError.exit_code if any(finding.fix for finding in findings) else 0)
    from commands import compare as comparison
    from stack.health import check_stack

    _, uri = check_stack(settings.state_folder)
    print(comparison.render(comparison.compare_runs(settings, uri), options.format))
    return Ending(0)


def dispatch(options: argparse.Namespace, given: dict[str, Any], debug: bool) -> Ending:
    """Do the one thing that the options ask for."""
    from stack.local_stack import keep_login

    keep_login()
    if options.doctor or options.compare:
        return look(options, with_absolute_folders(load_settings(options.config, given)), debug)
    if options.bare:
        from stack.error_messages import explained

        with explained({"bare": options.bare}):
            return train_bare(options.bare, alerts.without_alerts(settings_or_demo(options, given)), debug)
    if options.reproduce:
        return reproduce(options, given, debug)
    names = pipeline_names()
    if options.pipeline not in names:
        asked = f"unknown pipeline {options.pipeline!r}" if options.pipeline else "no pipeline was named"
        raise UserError(f"{asked}; choose one with --pipeline: {', '.join(names)}")
    needs_data = options.pipeline in ("training", "retraining", "tuning")
    settings = settings_or_demo(options, given) if needs_data else load_settings(options.config, given)
    return run_pipeline(options.pipeline, alerts.without_alerts(settings), debug)


def named(options: argparse.Namespace) -> str:
    """Return what an alert calls the run."""
    return "reproduction" if options.reproduce else "bare" if options.bare else options.pipeline or "none"


def alert_settings(options: argparse.Namespace, given: dict[str, Any]) -> AlertSettings | None:
    """Return who hears of the run's end; where the settings themselves are wrong, by environment and YAML alone."""
    for overlays, values in ((options.config, given), ([], {})):
        with contextlib.suppress(UserError):
            return load_settings(overlays, values).alerts
    return None


def alert(options: argparse.Namespace, given: dict[str, Any], event: alerts.Event | None) -> None:
    """Tell whoever waits for it how the run ended."""
    if event and not (options.doctor or options.compare) and (wanted := alert_settings(options, given)):
        alerts.send(wanted, event)


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for; return the exit code."""
    debug = "--debug" in arguments
    for stop in (signal.SIGTERM, signal.SIGINT):  # an orchestrator's stop is treated as Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    options, given = parse_arguments([])
    event: alerts.Event | None
    try:
        options, given = parse_arguments(arguments)
        ended = dispatch(options, given, debug)
        code, event = ended.exit_code, alerts.ending(named(options), ended.exit_code, ended.lines)
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {alerts.without_secrets(str(error))}", file=sys.stderr)
        code, event = error.exit_code, alerts.Event("failure", named(options), error.exit_code, str(error))
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print("stopped; finished data steps and epochs are kept and will not run again", file=sys.stderr)
        code, event = STOPPED_BY_USER, alerts.Event("failure", named(options), STOPPED_BY_USER, "stopped")
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        alert(options, given, alerts.Event("failure", named(options), UNEXPECTED, said))
        raise
    alert(options, given, event)
    return code


if __name__ == "__main__":
    ended_with = main(sys.argv[1:])
    gc.freeze()  # leaves what remains to the operating system: collecting it takes seconds
    sys.exit(ended_with)
