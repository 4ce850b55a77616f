"""The champion as MLflow's store has it, read without MLflow's client, which takes 4 seconds and 170 MB to import.

Of a server by MLflow's REST API; of an SQLite file by its tables, as MLflow 3.17 has them.
"""

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import requests

from configs.environment import shown_address
from configs.errors import UserError
from stack.databases import open_to_read, sqlite_path
from stack.places import local_path

SECONDS = 5.0  # for one request to a server
NOT_FOUND = 404
NOT_KNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # of MLflow; the second for an alias
LOOK_AT = "see whether MLFLOW_TRACKING_URI names an MLflow server and has its login"
BLOCK = 1 << 20
PROXIED = "mlflow-artifacts:"  # artifacts that the server itself hands out
SYSTEM_METRICS = "system/"


class LookupFailedError(UserError):
    """The registry does not answer, or does not have what it names."""


class NotThereError(LookupFailedError):
    """The registry answers, and says that it does not have what it was asked for."""


@dataclass(frozen=True)
class FoundVersion:
    """A registered version: its tags, and where the files of its model and of its run are."""

    number: str
    run_id: str
    tags: Mapping[str, str]
    model_place: str
    run_place: str


class ChampionLookup(Protocol):
    """What reads a registry. Every method raises LookupFailedError."""

    shown: str

    def find_alias(self, name: str, alias: str) -> str | None:
        """Return the number of the version that holds the alias, or None."""

    def find_version(self, name: str, number: str) -> FoundVersion:
        """Return a registered version. Raises NotThereError where it, or its run, was deleted."""

    def metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run, as shown_metrics does."""

    def read(self, place: str, name: str, max_bytes: int) -> bytes | None:
        """Return a file below a place, or None where it is not there."""

    def page(self, name: str, number: str) -> str | None:
        """Return the address of a version's page, where a server shows one."""


def open_lookup(uri: str) -> ChampionLookup:
    """Return what reads a store's registry. Raises UserError for a kind of store that the service does not read."""
    path = sqlite_path(uri)
    if path is not None:
        return SqliteLookup(path)
    if urlsplit(uri).scheme in ("http", "https"):
        return ServerLookup(uri)
    raise UserError(
        f"MLFLOW_TRACKING_URI {shown_address(uri)} is neither an SQLite file nor a server, and --serve reads no other "
        "store; put an MLflow server before it, or unset it and serve a bundle with --serving.bundle"
    )


def shown_metrics(metrics: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """Return metrics without those of the machine, and without what is not finite, which JSON does not have."""
    numbers = {name: float(value) for name, value in metrics if not name.startswith(SYSTEM_METRICS)}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


class SqliteLookup:
    """Reads the registry in an SQLite file, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path, self.shown = path, str(path)

    def find_alias(self, name: str, alias: str) -> str | None:
        if not self.path.exists():
            return None
        rows = self._rows("SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?", name, alias)
        return str(rows[0][0]) if rows else None

    def find_version(self, name: str, number: str) -> FoundVersion:
        wanted = "SELECT run_id, source, storage_location FROM model_versions WHERE name = ? AND version = ?"
        rows = self._rows(wanted, name, number)
        runs = self._rows("SELECT artifact_uri FROM runs WHERE run_uuid = ?", rows[0][0]) if rows else []
        if not runs:
            raise NotThereError(f"{self.shown}: version {number} of {name}, or its run, is not there any more")
        tags = self._rows("SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?", name, number)
        run_id, source, storage = rows[0]
        return FoundVersion(str(number), run_id, dict(tags), storage or source, runs[0][0])

    def metrics(self, run_id: str) -> dict[str, float]:
        rows = self._rows("SELECT key, value FROM latest_metrics WHERE run_uuid = ? AND NOT is_nan", run_id)
        return shown_metrics(rows)

    def read(self, place: str, name: str, max_bytes: int) -> bytes | None:
        return _read_here(place, name, max_bytes)

    def page(self, name: str, number: str) -> str | None:
        return None

    def _rows(self, query: str, *values: str) -> Sequence[Any]:
        try:
            with open_to_read(self.path) as database:
                return database.execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise LookupFailedError(f"the registry {self.shown} cannot be read: {error}") from error


class ServerLookup:
    """Reads the registry of an MLflow server, with the login that MLflow's client would take from the environment."""

    def __init__(self, uri: str) -> None:
        self.uri, self.shown = uri.rstrip("/"), shown_address(uri)
        self.session = requests.Session()
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
        if user:
            self.session.auth = (user, password)
        elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            self.session.headers["Authorization"] = f"Bearer {token}"
        if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS") == "true":
            self.session.verify = False
        elif bundle := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            self.session.verify = bundle

    def find_alias(self, name: str, alias: str) -> str | None:
        try:
            answer = self._ask("registered-models/alias", {"name": name, "alias": alias})
        except NotThereError:
            return None
        with self._reading():
            return str(answer["model_version"]["version"])

    def find_version(self, name: str, number: str) -> FoundVersion:
        wanted = {"name": name, "version": number}
        with self._reading():
            found = self._ask("model-versions/get", wanted)["model_version"]
            place = self._ask("model-versions/get-download-uri", wanted)["artifact_uri"]
            run = self._ask("runs/get", {"run_id": found["run_id"]})["run"]
            tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
            return FoundVersion(str(number), found["run_id"], tags, place, run["info"]["artifact_uri"])

    def metrics(self, run_id: str) -> dict[str, float]:
        with self._reading():
            listed = self._ask("runs/get", {"run_id": run_id})["run"]["data"].get("metrics", [])
            return shown_metrics((one["key"], one["value"]) for one in listed)

    def read(self, place: str, name: str, max_bytes: int) -> bytes | None:
        if not place.startswith(PROXIED):
            return _read_here(place, name, max_bytes)
        path = quote(f"{urlsplit(place).path.strip('/')}/{name}")
        content = bytearray()
        try:
            with self.session.get(
                f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{path}", timeout=SECONDS, stream=True
            ) as answer:
                if answer.status_code == NOT_FOUND:
                    return None
                answer.raise_for_status()
                for block in answer.iter_content(BLOCK):
                    content += block
                    _check_size(name, len(content), max_bytes)
        except requests.RequestException as error:
            raise LookupFailedError(f"{self.shown} does not give {name} ({type(error).__name__})") from error
        return bytes(content)

    def page(self, name: str, number: str) -> str | None:
        return f"{self.shown.rstrip('/')}/#/models/{quote(name)}/versions/{number}"

    def _ask(self, path: str, wanted: Mapping[str, str]) -> Any:
        """Return what the server answers. Raises NotThereError where MLflow says that it does not have it."""
        try:
            answer = self.session.get(f"{self.uri}/api/2.0/mlflow/{path}", params=dict(wanted), timeout=SECONDS)
        except (requests.RequestException, ValueError) as error:  # ValueError: an address that cannot be
            raise LookupFailedError(f"the registry {self.shown} does not answer ({type(error).__name__})") from error
        if answer.ok:
            with self._reading():
                return answer.json()
        code = _error_code(answer)
        if code in NOT_KNOWN:
            raise NotThereError(f"{self.shown} does not have {', '.join(wanted.values())}")
        reason = f"status {answer.status_code} ({code or 'without an error code of MLflow'})"
        raise LookupFailedError(f"the registry {self.shown} answers with {reason}; {LOOK_AT}")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise LookupFailedError for an answer that is not what MLflow answers."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"answers something else than MLflow does ({type(error).__name__})"
            raise LookupFailedError(f"the registry {self.shown} {reason}; {LOOK_AT}") from error


def _error_code(answer: requests.Response) -> str:
    """Return MLflow's name of an error, or "" where the answer is not MLflow's."""
    try:
        return str(answer.json()["error_code"])
    except (ValueError, LookupError, TypeError):
        return ""


def _read_here(place: str, name: str, max_bytes: int) -> bytes | None:
    folder = local_path(place)
    if folder is None:
        raise LookupFailedError(
            f"{name} is at {shown_address(place)}, from where the service does not read; start the MLflow server with "
            "--serve-artifacts, so that it hands out its files"
        )
    path = folder / name
    try:
        if not path.is_file():
            return None
        _check_size(name, path.stat().st_size, max_bytes)
        return path.read_bytes()
    except OSError as error:
        raise LookupFailedError(f"{path} cannot be read: {error.strerror}") from error


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise LookupFailedError(f"{name} has more than {max_bytes} bytes (bundle.max_bytes)")
