"""The settings: read from YAML files, environment and command line, merged and checked."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from configs.environment import ENVIRONMENT_PREFIX
from configs.errors import UserError
from configs.paths import FILES_OR_NAMES, PATHS, PATHS_OR_ADDRESSES, resolve_paths
from configs.pipelines import PIPELINES
from configs.settings import Settings

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent
DEMO = FOLDER / "demo.yaml"
KEPT_SETTINGS = "settings.json"  # artifact of an MLflow run: its settings by section, to rebuild them from
RESOLVED = frozenset({*PATHS, *FILES_OR_NAMES, *PATHS_OR_ADDRESSES})
YAML_BYTES = 100_000  # ten times what all settings together take
HIDDEN = (
    ("serving",),
    ("serving", "token"),
    ("tuning",),
    ("tuning", "storage"),
    ("inference", "ray"),
    ("inference", "ray", "storage"),
)
SHOWN_CHARACTERS, SHOWN_PROBLEMS = 200, 20  # of a wrong value, and of wrong settings


class StrictLoader(yaml.SafeLoader):
    """Reads plain values. Refuses aliases, which can turn a few lines into gigabytes, and a key that occurs twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read; write the value out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"the key {key.value!r} occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_settings(overlays: Sequence[Path], given: Mapping[str, Any]) -> Settings:
    """Merge, from weak to strong, the pipelines' YAML files, `overlays`, the environment and `given`.

    Each of them, and serving.yaml, holds what the others do not, so that their order does not matter. `given` is the
    command line as a nested dictionary. Relative paths start at the working directory; in the project's own YAML
    files, at the project. Raises UserError that names each wrong key, its value and what is allowed.
    """
    values = merge(_read_own(), read_given(overlays, given))
    for name in values:
        if name.startswith("_"):  # pydantic-settings would take it for an option of its own
            raise UserError(f"{name} = {_shown(values[name])}: unknown setting; {_allowed()}")
    resolved = resolve_paths(values, Path.cwd(), RESOLVED)
    for name, text in _texts(resolved):
        if "\0" in text:
            raise UserError(
                f"{_shown(name)[1:-1]} = {_shown(text)}: contains the null character, which databases refuse"
            )
    try:
        return Settings(**resolved)
    except ValidationError as error:
        raise _wrong_settings(error) from error


def find_changed(settings: Settings, without: Set[str] = frozenset()) -> dict[str, Any]:
    """Return as nested sections the settings that are not those of the project's own files, but for some sections.

    A list is there whole. As a file for --config it gives the same settings again.
    """
    own = Settings(**_read_own())
    return _differences(settings.model_dump(mode="json", exclude=set(without)), own.model_dump(mode="json"))


def _differences(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        other = usual.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            value, other = _differences(value, other), {}
        if value != other:
            found[name] = value
    return found


def _read_own() -> dict[str, Any]:
    return merge(*(_read_yaml(FOLDER / f"{name}.yaml") for name in (*PIPELINES, "serving")))


def read_given(overlays: Sequence[Path], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge, from weak to strong, `overlays`, the environment and `given`: all that the user says, not yet checked."""
    contents = [*map(_read_overlay, overlays), _read_environment()]
    for name in set(given) - set(Settings.model_fields):
        raise UserError(f"--{name}: unknown setting; {_allowed()}")
    return merge(*contents, given)


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested dictionaries over each other, the strongest last."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = merged.get(name)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                value = merge(below, value)
            merged[name] = value
    return merged


def change_settings(settings: Settings, values: dict[str, Any]) -> Settings:
    """Return the settings with other values, given by path such as `training.phases.0.learning_rate`.

    Raises UserError for a path that is not a setting, and for a value out of bounds.
    """
    changed = settings.model_dump()
    for path, value in values.items():
        place: Any = changed
        *sections, field = path.split(".")
        try:
            for section in sections:
                place = place[int(section) if isinstance(place, tuple | list) else section]
            if field not in place:
                raise KeyError(field)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UserError(f"{path}: there is no such setting") from error
        place[field] = value
    try:
        return Settings(**changed)
    except ValidationError as error:
        raise _wrong_settings(error) from error


def flatten(values: Any, prefix: str = "", lists: bool = True) -> dict[str, str]:
    """Turn nested settings into `section.field` names and texts; `lists` also opens lists of sections."""
    if isinstance(values, dict) and (values or not prefix):  # an empty mapping is a value as well
        entries = list(values.items())
    elif lists and isinstance(values, list) and values and isinstance(values[0], dict):
        entries = list(enumerate(values))
    else:
        return {prefix: values if isinstance(values, str) else json.dumps(values)}
    flat: dict[str, str] = {}
    for name, value in entries:
        flat |= flatten(value, f"{prefix}.{name}" if prefix else str(name), lists)
    return flat


def _texts(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in nested settings, and each key of a mapping, with its place."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            place = f"{name}.{key}" if name else str(key)
            yield place, str(key)
            yield from _texts(value, place)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value, name)
    elif isinstance(values, str):
        yield name, values


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(YAML_BYTES + 1)
        if len(text) > YAML_BYTES:
            raise UserError(f"--config {path} has more than {YAML_BYTES} bytes; settings take a few thousand")
        content = yaml.load(text.decode("utf-8"), StrictLoader)  # noqa: S506 - it is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date, a number, brackets in brackets
        raise UserError(f"--config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"--config {path} contains {type(content).__name__}, expected sections such as `training:`")
    return resolve_paths(content, PROJECT, RESOLVED) if path.resolve().parent == FOLDER else content


def _read_overlay(path: Path) -> dict[str, Any]:
    content = _read_yaml(path)
    section = content.get("alerts")
    if isinstance(section, dict) and (named := [name for name in ("command", "webhook") if section.get(name)]):
        raise UserError(
            f"--config {path} names alerts.{named[0]}, which is read from the environment, the command line or "
            "configs/training.yaml only: a settings file from somebody else must not start a program"
        )
    return content


def _read_environment() -> dict[str, Any]:
    """Return what the environment sets. Refuses unknown sections, which pydantic-settings would ignore."""
    for name in os.environ:
        section = name.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
        if name.startswith(ENVIRONMENT_PREFIX) and section not in Settings.model_fields:
            raise UserError(f"environment variable {name}: unknown setting {section!r}; {_allowed()}")
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        raise UserError(f"{error}: {error.__cause__}; lists in the environment are written as JSON") from error


def _allowed() -> str:
    return f"allowed: {', '.join(Settings.model_fields)}"


def _wrong_settings(error: ValidationError) -> UserError:
    found = _without_repetition(error.errors())
    lines = [f"  {_describe(problem)}" for problem in found[:SHOWN_PROBLEMS]]
    if more := len(found) - len(lines):
        lines.append(f"  and {more} more")
    return UserError("\n".join(["wrong settings:", *lines]))


def _without_repetition(problems: Sequence[Any]) -> list[Any]:
    """Keep one problem of each kind of a list's entries, and none of the list itself where entries are wrong."""
    kept: dict[Any, Any] = {}
    lists = {problem["loc"][:-1] for problem in problems if _is_entry(problem)}
    for problem in problems:
        if problem["loc"] not in lists:
            place = problem["loc"][:-1] if _is_entry(problem) else problem["loc"]
            kept.setdefault((place, problem["type"]), problem)
    return list(kept.values())


def _is_entry(problem: Any) -> bool:
    return bool(problem["loc"]) and isinstance(problem["loc"][-1], int)


def _describe(problem: Any) -> str:
    """Say what is wrong with one setting: the key, the value and what is allowed."""
    location, value = problem["loc"], _shown(problem["input"])
    key = _shown(".".join(str(part) for part in location))[1:-1]
    if location[:1] == ("alerts",) or location in HIDDEN:
        value = "…"  # an address, a command or a token may be a secret
    if problem["type"] == "missing":
        return f"{key}: missing, and it has no default"
    if problem["type"] == "extra_forbidden":
        return f"{key} = {value}: unknown setting; allowed here: {', '.join(_known_fields(location[:-1]))}"
    return f"{key} = {value}: {problem['msg']}" if key else str(problem["msg"])


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not print numbers of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _known_fields(location: tuple[str | int, ...]) -> list[str]:
    """Return the fields of the section at `location`; inside a list or mapping, those of its entries."""
    sections: list[type[BaseModel]] = [Settings]
    for part in location:
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        if fields:  # otherwise it is a position in a list, a key of a mapping or one of several forms
            sections = [section for field in fields for section in _sections_in(field.annotation)]
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def _sections_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]
