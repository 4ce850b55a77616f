"""The command line: its words become options and settings."""

import argparse
import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn

import yaml

from configs.environment import ENVIRONMENT_PREFIX
from configs.errors import UserError
from configs.loading import flatten, load_settings
from configs.paths import expand_home
from configs.pipelines import PIPELINES
from configs.settings import Settings

FORMATS = ("text", "markdown", "json", "html")
ACTIONS = ("pipeline", "bare", "reproduce", "doctor", "compare", "tidy", "relocate", "serve")  # one for each command
EXPECTED = "settings are given as --section.field VALUE"


@dataclass(frozen=True)
class Command:
    """What the command line asks for; `given` holds its settings as a nested dictionary."""

    pipeline: str | None = None
    config: list[Path] = field(default_factory=list)
    bare: Path | None = None
    reproduce: str | None = None
    stack: str | None = None
    doctor: bool = False
    compare: bool = False
    tidy: bool = False
    yes: bool = False
    relocate: bool = False
    serve: bool = False
    format: str = FORMATS[0]
    debug: bool = False
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def runs_nothing(self) -> bool:
        """Say whether it only looks at what is there, or tidies up."""
        return self.doctor or self.compare or self.tidy or self.relocate

    @property
    def subject(self) -> str:
        """What an alert calls the run."""
        if self.serve:
            return "serving"
        return "reproduction" if self.reproduce else "bare" if self.bare else self.pipeline or "none"


class Parser(argparse.ArgumentParser):
    """Adds pipelines, settings and exit codes to the help, and reports mistakes as UserError."""

    def format_help(self) -> str:
        values = flatten(load_settings([], {}).model_dump(mode="json"), lists=False)
        width = max(len(name) for name in values)
        return "\n".join(
            [
                super().format_help(),
                f"pipelines: {', '.join(PIPELINES)}\n",
                "settings, with the values of configs/*.yaml (bounds in configs/*_settings.py):",
                *(f"  --{name:<{width}}  {value}" for name, value in values.items()),
                f"\nAlso as environment variables, for example {ENVIRONMENT_PREFIX}TRAINING__BATCH_SIZE=32.",
                "Strongest first: command line, environment, --config files (the last first), configs/*.yaml.",
                "\nexit codes: 0 done (training: promoted), 1 unexpected error, 2 wrong settings or input, 3 held,",
                "4 rejected, 5 invalid data, 6 drifted, 130 Ctrl-C\n",
            ]
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see run.py --help")


def parse_words(words: list[str]) -> Command:
    """Return what the words ask for. Raises UserError for what is neither an option nor a setting with a value.

    Settings are only put into their places here, and checked when they are loaded. pydantic-settings' own parser reads
    no mappings in YAML, cuts quoted words at commas, and says of an unknown setting only that it is unknown.
    """
    options, rest = _make_parser().parse_known_args(words)
    command = Command(**vars(options), given=_nest(rest))
    if command.stack and (command.bare or command.serve or command.tidy or command.relocate):
        raise UserError("--stack names what pipelines run on; --bare, --serve, --tidy and --relocate use no stack")
    if command.yes and not command.tidy:
        raise UserError("--yes goes with --tidy; nothing else asks")
    if command.format != FORMATS[0] and not command.compare:
        raise UserError("--format goes with --compare; nothing else is printed in other forms")
    asked = [f"--{name}" for name in ACTIONS if getattr(command, name)]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} are commands of their own; give one of them")
    return command


def _make_parser() -> Parser:
    parser = Parser(
        prog="run.py", description="Face-emotion detection, from raw faces to a model in MLflow.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--pipeline", metavar="NAME", help="the pipeline to run")
    repeatable: dict[str, Any] = {"type": _path, "action": "append", "default": []}
    add("--config", metavar="FILE", help="YAML over the pipeline's own; repeatable", **repeatable)
    bare = "train without ZenML and MLflow, by any of Keras's backends (KERAS_BACKEND); write to FOLDER"
    add("--bare", metavar="FOLDER", type=_path, help=bare)
    add("--reproduce", metavar="RUN_ID", help="train again from what an MLflow run keeps, and say what differs")
    add("--stack", metavar="NAME", help="run on this stack of a ZenML of yours, instead of its active one")
    add("--doctor", action="store_true", help="look over this machine and say what to fix")
    add("--compare", action="store_true", help="print champion, challenger and the last runs")
    add("--tidy", action="store_true", help="show what of the state folder can be deleted without loss")
    add("--yes", action="store_true", help="of --tidy: delete it")
    add("--relocate", action="store_true", help="tell a copied or moved state folder where it is")
    add("--serve", action="store_true", help="answer pictures over HTTP with the champion, and show a page for it")
    add("--format", choices=FORMATS, default=FORMATS[0], help="of --compare")
    add("--debug", action="store_true", help="show stack traces and the libraries' own messages")
    return parser


def _nest(words: list[str]) -> dict[str, Any]:
    """Turn `--section.field VALUE` and `--section.field=VALUE` into a nested dictionary."""
    given: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, separator, value = word.partition("=")
        if not name.startswith("--"):
            raise UserError(f"unexpected argument {name!r}; {EXPECTED}")
        if not separator:
            try:
                value = next(rest)
            except StopIteration:
                raise UserError(f"{name} has no value; {EXPECTED}{_meant(name)}") from None
        *sections, key = name.removeprefix("--").split(".")
        place = given
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(f"{name}: {section} was given a value before, so it is not a section")
        place[key] = _read_value(name, value, rest)
    return given


def check_names(command: Command) -> None:
    """Raise UserError for what is neither an option nor a section of the settings, with the nearest that is."""
    for name in command.given:
        if name not in Settings.model_fields:
            raise UserError(f"--{name} is neither an option nor a setting{_meant(f'--{name}')}; see run.py --help")


def _meant(name: str) -> str:
    """Return a question that names the option or section that is most like an unknown one, or nothing."""
    options = [option for action in _make_parser()._actions for option in action.option_strings]
    known = [*options, *(f"--{section}" for section in Settings.model_fields)]
    given, dot, rest = name.partition(".")
    if given in known or not (near := difflib.get_close_matches(given, known, n=1)):
        return ""
    return f"; did you mean {near[0]}{dot}{rest}?"


def _path(text: str) -> Path:
    """Return an option's path; a shell leaves the ~ after = to us."""
    return Path(expand_home("path", text))


def _read_value(name: str, text: str, rest: Iterator[str]) -> Any:
    """Read lists and mappings as YAML; pydantic turns other text into numbers and switches.

    `rest` are the words that follow, in which the other parts are of a list that the shell has split.
    """
    if not text.startswith(("[", "{")):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number
        parts = [text, *takewhile(lambda word: not word.startswith("--"), rest)]
        if len(parts) > 1 and parts[-1].endswith(("]", "}")):
            whole = " ".join(parts)
            raise UserError(
                f'{name} {text} is a part: the shell splits at spaces; quote it: {name} "{whole}"'
            ) from error
        raise UserError(f"{name} {text} is not valid YAML: {' '.join(str(error).split())}") from error
