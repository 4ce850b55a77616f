"""The artifact store: where ZenML keeps what steps return, in the state folder or in a bucket."""

import hashlib
import importlib.util
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.environment import without_login
from configs.errors import UserError
from stack.buckets import endpoint, explain_bucket
from stack.error_messages import RESUMES, StoreError, chain_of, reason_of
from stack.findings import Finding
from stack.servers import why_silent

SETTING = "stores.artifacts"
NAME = "face_emotion_artifacts"
PACKAGES = ("s3fs", "boto3")
CONTENT = b"this file shows that the artifact store can be written; it may be deleted\n"


@dataclass(frozen=True)
class Place:
    """Where artifacts go: a folder of this machine, or what s3:// names."""

    path: str

    @classmethod
    def of(cls, artifacts: str | None, state: Path) -> "Place":
        """Return the place that `stores.artifacts` names. Raises UserError where what reads it is not installed."""
        if artifacts is None:
            return cls(str(state / "artifacts"))
        if missing := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
            raise UserError(
                f"{SETTING} {artifacts} needs the package {' and '.join(missing)}: pip install -e '.[s3]' or "
                "make setup-servers"
            )
        return cls(f"{artifacts.rstrip('/')}/zenml")

    @property
    def is_remote(self) -> bool:
        return "://" in self.path

    @property
    def flavor(self) -> str:
        """ZenML's name for its kind."""
        return "s3" if self.is_remote else "local"

    @property
    def suffix(self) -> str:
        """What tells stacks with different stores apart; an artifact is only found in the store that it was put in."""
        return f"_{hashlib.sha256(self.path.encode()).hexdigest()[:8]}" if self.is_remote else ""

    @property
    def for_mlflow(self) -> str:
        """The place beside it where MLflow keeps its artifacts, if no server does."""
        return f"{self.path.removesuffix('zenml')}mlflow"


def look_at_bucket(artifacts: str) -> Finding:
    """Say whether the server of the bucket that `stores.artifacts` names answers; nothing is written to it."""
    try:
        Place.of(artifacts, Path())
    except UserError as error:
        found, _, fix = str(error).partition(": ")
        return Finding.wrong(SETTING, found, fix)
    address = endpoint()
    if address and (silence := why_silent(address)):
        return Finding.wrong(SETTING, f"{silence}, where {artifacts} is", "start that server, or set AWS_ENDPOINT_URL")
    return Finding(SETTING, f"{artifacts} at {address or 'Amazon'}; only a run writes to it")


@contextmanager
def talking_to_store(path: str, setting: str = SETTING) -> Iterator[None]:
    """Raise StoreError, which names the artifact store, where a bucket fails in the block."""
    try:
        yield
    except Exception as error:
        chain = chain_of(error)
        said = any(isinstance(found, UserError) for found in chain)  # by who knows more, such as which store it was
        if said or (reason := explain_bucket(chain, path, setting)) is None:
            raise
        raise StoreError(f"{reason}; {RESUMES}") from error


def check_store(store: Any, setting: str = SETTING) -> None:
    """Write, read and delete a small file in ZenML's artifact store, if it is remote. Raises StoreError."""
    if os.path.isabs(store.path):
        return
    if store.flavor == "s3" and endpoint() and (silence := why_silent(endpoint())):
        raise StoreError(f"{silence}, where the artifact store {store.path} ({setting}) is; set AWS_ENDPOINT_URL to it")
    file = f"{store.path.rstrip('/')}/check-{uuid.uuid4().hex}"
    with talking_to_store(store.path, setting):
        try:
            with store.open(file, "wb") as opened:
                opened.write(CONTENT)
            with store.open(file, "rb") as opened:
                whole = opened.read() == CONTENT
            store.remove(file)
        except Exception as error:
            if explain_bucket(chain_of(error)):
                raise
            reason = reason_of(error)
            raise StoreError(
                f"the artifact store {without_login(store.path)} ({setting}) cannot be written and read: "
                f"{type(error).__name__}: {reason}"
            ) from error
    if not whole:
        raise StoreError(f"the artifact store {without_login(store.path)} ({setting}) returns other bytes than it got")
