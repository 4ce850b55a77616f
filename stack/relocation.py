"""Relocation: a state folder that was copied or moved, whose two stores still name the place where it was made."""

import contextlib
import os
import shlex
import sqlite3
import sys
from pathlib import Path
from typing import Any

import yaml

from configs.errors import UserError
from stack.databases import copy_database, open_to_read, sqlite_path
from stack.places import local_path
from stack.users_zenml import OWN_ZENML
from vision.files.atomic import write_file

BACKUP = ".before-relocation"  # suffix of a store's copy as it was
STORE = Path(OWN_ZENML, "local_stores", "default_zen_store", "zenml.db")  # in the state folder, as ZenML lays it out
# Neither ZenML nor MLflow can be told that their files are elsewhere now, so these columns are read and written here,
# and nowhere else: as MLflow 3.17 and ZenML 0.98 have them. Values in the midst of other text are history and stay.
COLUMNS = {
    Path("mlflow", "mlflow.db"): (
        ("experiments", "artifact_location"),
        ("runs", "artifact_uri"),
        ("logged_models", "artifact_location"),
        ("model_versions", "source"),
        ("model_versions", "storage_location"),
    ),
    STORE: (("artifact_version", "uri"), ("artifact_visualization", "uri"), ("logs", "uri")),
}


def former_place(state: Path) -> Path | None:
    """Return where the stores of a state folder say that it is, if that is another folder. Changes nothing."""
    place = _place_in_zenml(state) or _place_in_mlflow(state)
    if place is None or place == state:
        return None
    with contextlib.suppress(OSError):  # it does not exist any more
        if os.path.samefile(place, state):  # by another name, such as a link's
            return None
    return place


def check_place(state: Path) -> None:
    """Raise UserError for a state folder that was copied or moved: runs would write into the original, or miss it."""
    if (place := former_place(state)) is not None:
        raise UserError(f"{describe(state, place)}; {way_out(state)}")


def describe(state: Path, place: Path) -> str:
    """Say what happened to a state folder that was made in another place."""
    if os.path.exists(place):
        return f"the state folder {state} is a copy of {place}, and its stores still point there"
    return f"the state folder {state} was moved from {place}, and its stores still point there"


def way_out(state: Path) -> str:
    """Return the command that moves the stores' places."""
    script = Path(__file__).resolve().parents[1] / "run.py"
    line = [sys.executable, str(script), "--relocate", "--state_folder", str(state)]
    return f"{shlex.join(line)} points them here, and touches nothing but {state}"


def relocate(state: Path, old: Path) -> list[Path]:
    """Have both stores of a state folder name `state` where they name `old`; return the copies of them as they were.

    The state must be at rest. Each store is changed whole or not at all, and the same call again does what is missing.
    Raises UserError where a store cannot be written, is damaged or has another schema; nothing was changed then.
    """
    files = {state / name: columns for name, columns in COLUMNS.items() if (state / name).is_file()}
    backups = []
    try:
        for file, columns in files.items():
            _check_columns(file, columns)
        for file in files:
            backups.append(file.with_name(f"{file.name}{BACKUP}"))
            backups[-1].unlink(missing_ok=True)
            copy_database(file, backups[-1])
        for file, columns in files.items():
            _rewrite(file, columns, old, state)
        _rewrite_configuration(state, old)  # last: former_place reads it
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{state} cannot be relocated: {error}; see --doctor, then relocate again") from error
    return backups


def _place_in_zenml(state: Path) -> Path | None:
    """Return the state folder that ZenML's configuration names, or None where there is none."""
    try:
        known = yaml.safe_load((state / OWN_ZENML / "config.yaml").read_text(encoding="utf-8"))
        database = sqlite_path(known["store"]["url"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # missing or damaged, which check_zenml says
        return None
    if database is None or Path(*database.parts[-len(STORE.parts) :]) != STORE:
        return None
    return database.parents[len(STORE.parts) - 1]


def _place_in_mlflow(state: Path) -> Path | None:
    """Return the state folder that an experiment of the MLflow store keeps its artifacts in, or None."""
    file = state / "mlflow" / "mlflow.db"
    if not file.is_file() or not (state / "mlflow" / "artifacts").is_dir():
        return None
    try:
        with open_to_read(file) as database:
            locations = database.execute("SELECT artifact_location FROM experiments").fetchall()
    except (OSError, sqlite3.Error):  # which check_store says
        return None
    folders = [folder for (location,) in locations if (folder := local_path(str(location))) is not None]
    places = {folder.parents[1] for folder in folders if folder.parts[-2:] == ("mlflow", "artifacts")}
    return None if state in places or not places else sorted(places)[0]


def _check_columns(file: Path, columns: tuple[tuple[str, str], ...]) -> None:
    with open_to_read(file) as database:
        for table, column in columns:
            if column not in {row[1] for row in database.execute(f'PRAGMA table_info("{table}")')}:
                raise UserError(
                    f"{file} has no {table}.{column}, so it was written by another version; relocate it with the "
                    "commit of this project that wrote it"
                )


def _rewrite(file: Path, columns: tuple[tuple[str, str], ...], old: Path, new: Path) -> None:
    """Replace the beginning of the values in one transaction, which is undone if the file is not whole afterwards."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        for table, column in columns:
            for before, after in ((str(old), str(new)), (old.as_uri(), new.as_uri())):
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = :after || substr("{column}", length(:before) + 1) '  # noqa: S608
                    f'WHERE substr("{column}", 1, length(:before)) = :before '
                    f"""AND substr("{column}", length(:before) + 1, 1) IN ('', '/', '\\')""",
                    {"before": before, "after": after},
                )
        if (answer := database.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            database.execute("ROLLBACK")
            raise UserError(f"{file} is damaged, so nothing of it was changed: {answer}; --doctor says what to do")
        database.execute("COMMIT")


def _rewrite_configuration(state: Path, old: Path) -> None:
    file = state / OWN_ZENML / "config.yaml"
    if not file.is_file():
        return
    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    known["store"] = {name: _moved(value, old, state) for name, value in known["store"].items()}
    write_file(file, lambda path: path.write_text(yaml.safe_dump(known), encoding="utf-8"))


def _moved(value: Any, old: Path, new: Path) -> Any:
    """Return a path, or the address of a database, at its new place; other values as they are."""
    prefix = "sqlite:///" if isinstance(value, str) and value.startswith("sqlite:///") else ""
    if not isinstance(value, str) or not Path(value.removeprefix(prefix)).is_relative_to(old):
        return value
    return f"{prefix}{new / Path(value.removeprefix(prefix)).relative_to(old)}"
