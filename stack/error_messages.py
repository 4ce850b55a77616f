"""Error messages: what a full disk, a lost server, a lock or too little memory means, in one sentence."""

import errno
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from configs.environment import without_login
from configs.errors import UserError
from stack.buckets import endpoint, explain_bucket
from stack.databases import BUSY, LOCK_SECONDS, is_named
from stack.servers import why_silent

SHOWN_CHARACTERS = 200  # of another library's reason, which may be an SQL statement with all its values
RESUMES = "what was finished is kept, and the same command resumes there"
# HDF5, TensorFlow and C++ raise errors of their own, which keep only the text of what the machine said
NO_ROOM_TEXTS = ("No space left on device", "database or disk is full", "Disk quota exceeded")
NO_MEMORY_TEXTS = ("Cannot allocate memory", "bad_alloc")
# by name: these libraries are not imported everywhere
NO_MEMORY_TYPES = {"MemoryError", "ResourceExhaustedError"}
WORKER_DIED_TYPES = {"TerminatedWorkerError", "BrokenProcessPool"}
NO_CONNECTION = (ConnectionRefusedError, ConnectionResetError, ConnectionAbortedError, socket.gaierror)
OWN_FAULT = 500  # HTTP
REFUSALS = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}  # MLflow's error codes
UNAVAILABLE = "TEMPORARILY_UNAVAILABLE"  # of a database that MLflow cannot reach, and of HTTP 503


def reason_of(error: Exception) -> str:
    """Return what an error of another library says, in one short line without logins."""
    return without_login(" ".join(str(error).split()))[:SHOWN_CHARACTERS]


class StoreError(UserError):
    """The MLflow store does not answer, or refuses us; what was finished before is kept."""


@contextmanager
def talking_to_mlflow(uri: str = "") -> Iterator[None]:
    """Raise StoreError, which names the store, where it does not answer in the block; `uri` is the active one's."""
    try:
        yield
    except Exception as error:
        import mlflow
        from mlflow.exceptions import MlflowException

        chain = chain_of(error)
        if reason := explain_bucket(chain):  # MLflow's client puts files into a bucket itself, where no server does
            raise StoreError(f"{reason}; {RESUMES}") from error
        store = without_login(uri or mlflow.get_tracking_uri()).partition("?")[0]
        code = error.error_code if isinstance(error, MlflowException) else ""
        if code in REFUSALS:
            raise StoreError(
                f"{store} refuses this user ({code}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                f"MLFLOW_TRACKING_TOKEN; {RESUMES}"
            ) from error
        unreachable = code == UNAVAILABLE and not store.startswith("sqlite")
        if reason := explain_server(chain, store):
            raise StoreError(reason) from error
        if unreachable:
            raise StoreError(_lost(f"the database of MLflow, {store},")) from error
        raise


@contextmanager
def explained(folders: Mapping[str, Path]) -> Iterator[None]:
    """Turn errors of the machine into a UserError; `folders` are what is written to, by setting."""
    try:
        yield
    except Exception as error:
        found = behind(error, folders)
        if found is None:
            raise
        raise found from error


def behind(error: BaseException, folders: Mapping[str, Path]) -> UserError | None:
    """Return the UserError that an error is, comes from or is explained by.

    A step's UserError may be hidden behind an error of the cleaning up after it.
    """
    chain = chain_of(error)
    hidden = next((found for found in chain if isinstance(found, UserError)), None)
    reason = None if hidden else explain(chain, folders)
    return hidden if reason is None else UserError(reason)


def explain(chain: list[BaseException], folders: Mapping[str, Path]) -> str | None:
    """Return the sentence for the first trouble of the machine that the chain of errors shows, or None."""
    if reason := explain_bucket(chain):
        return f"{reason}; {RESUMES}"
    return _explain_disk(chain, folders) or _explain_memory(chain) or _explain_stores(chain)


def _explain_disk(chain: list[BaseException], folders: Mapping[str, Path]) -> str | None:
    numbers = {error.errno for error in chain if isinstance(error, OSError)}
    if says_no_room(chain) or _database_says(chain, "SQLITE_FULL"):
        setting, folder, free = _fullest(folders)
        return (
            f"the disk of {folder} is full ({free / 1e6:,.1f} MB free); free some space there (make tidy), or set "
            f"--{setting} to a folder on another disk; {RESUMES}"
        )
    if errno.EROFS in numbers or _database_says(chain, "SQLITE_READONLY"):
        places = ", ".join(f"--{setting} {folder}" for setting, folder in folders.items())
        return f"a folder has become read-only; make it writable again, or set another: {places}; {RESUMES}"
    return None


def _explain_memory(chain: list[BaseException]) -> str | None:
    numbers = {error.errno for error in chain if isinstance(error, OSError)}
    types = {type(error).__name__ for error in chain}
    if types & WORKER_DIED_TYPES:
        return f"a worker process was killed, probably out of memory; lower --dataset.workers; {RESUMES}"
    if errno.ENOMEM in numbers or types & NO_MEMORY_TYPES or _says(chain, NO_MEMORY_TEXTS):
        return (
            "the memory is not enough; lower --dataset.workers (each is a process), --training.batch_size and "
            f"--evaluation.batch_size, or end other programs; {RESUMES}"
        )
    return None


def _explain_stores(chain: list[BaseException]) -> str | None:
    if reason := explain_server(chain):
        return reason
    if _database_says(chain, *BUSY):
        return (
            f"a database of the state folder was locked by another process for longer than {LOCK_SECONDS:.0f} s; "
            f"--doctor says which; {RESUMES}"
        )
    if _database_says(chain, "SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return "a database of the state folder is damaged; --doctor says which, and how to fix it"
    return None


def _lost(server: str) -> str:
    return f"{server} does not answer any more; {RESUMES} once it answers again (--doctor says whether it does)"


def explain_server(chain: list[BaseException], store: str = "") -> str | None:
    """Return what became of a web request that a server did not answer, or answered with an error of its own, or None.

    `store` is the MLflow store that was asked, where the errors do not say which server it was.
    """
    for error in chain:  # errors of `requests`, which --bare runs without, keep the request, and an answer if any came
        request, answer = getattr(error, "request", None), getattr(error, "response", None)
        if not isinstance(error, OSError) or request is None:
            continue
        server = _name_server(str(request.url))
        if answer is None and type(error).__name__ != "RetryError":  # that one: each answer was an error
            return _lost(server)
        status = getattr(answer, "status_code", OWN_FAULT)
        if status >= OWN_FAULT:
            return (
                f"{server} answers with errors of its own (status {status}); {_what_it_may_lack()}; {RESUMES} once "
                "that is back"
            )
    if any(isinstance(error, NO_CONNECTION) for error in chain):
        return _lost(store or "a server")
    return None


def _what_it_may_lack() -> str:
    """Return what a server with errors of its own may lack: the bucket's, if that is silent, since many share it."""
    if endpoint() and (silence := why_silent(endpoint())):
        return f"{silence} (AWS_ENDPOINT_URL), where it may have its files"
    return "its log says why: its database or its place for files may be gone"


def _name_server(url: str) -> str:
    """Return which server a request went to: its kind, its address without a login, and what names it."""
    parts = urlsplit(url)
    address = without_login(f"{parts.scheme}://{parts.netloc}")
    if parts.path.startswith("/api/v1/"):
        return f"the ZenML server {address} (ZENML_STORE_URL)"
    if "/mlflow" in parts.path:
        return f"the MLflow server {address} (MLFLOW_TRACKING_URI, or the tracker of your stack)"
    return address


def says_no_room(chain: list[BaseException]) -> bool:
    """Say whether an error of a chain means a full disk."""
    numbers = {error.errno for error in chain if isinstance(error, OSError)}
    return bool(numbers & {errno.ENOSPC, errno.EDQUOT}) or _says(chain, NO_ROOM_TEXTS)


def _says(chain: list[BaseException], texts: tuple[str, ...]) -> bool:
    """Say whether another library's error repeats one of the machine's own texts."""
    return any(text in str(error) for error in chain for text in texts)


def _database_says(chain: list[BaseException], *names: str) -> bool:
    return any(is_named(error, names) for error in chain)


def chain_of(error: BaseException | None) -> list[BaseException]:
    """Return an error and what it came from."""
    chain: dict[int, BaseException] = {}
    while error is not None and id(error) not in chain:
        chain[id(error)] = error
        error = error.__cause__ or error.__context__
    return list(chain.values())


def _fullest(folders: Mapping[str, Path]) -> tuple[str, Path, int]:
    """Return setting, folder and free bytes of the folder with the least room; for temporary files it is TMPDIR."""
    places = {**folders, "state_folder": folders.get("state_folder", Path(tempfile.gettempdir()))}
    found = [(setting, folder, shutil.disk_usage(folder).free) for setting, folder in places.items() if folder.exists()]
    return min(found, key=lambda place: place[2])
