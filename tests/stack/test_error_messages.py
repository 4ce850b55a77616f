import errno
import sqlite3
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from configs.errors import InvalidDataError, UserError
from stack.error_messages import StoreError, explained, talking_to_mlflow

SERVER = "http://me:secret@mlflow.example:5000"


def sqlite_error(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("whatever SQLite says")
    error.sqlite_errorname = name
    return error


def silence(url: str) -> requests.ConnectionError:
    return requests.ConnectionError("no answer", request=requests.Request("GET", url).prepare())


def explanation(error: Exception, cause: Exception | None = None) -> str:
    with pytest.raises(UserError) as caught, explained({"state_folder": Path("/tmp")}):
        raise error from cause
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full"), "the disk of /tmp is full"),
        (RuntimeError("HDF5: errno = 28, 'No space left on device'"), "the disk of /tmp is full"),
        (sqlite_error("SQLITE_FULL"), "the disk of /tmp is full"),
        (OSError(errno.EROFS, "read-only"), "--state_folder /tmp"),
        (sqlite_error("SQLITE_READONLY_DBMOVED"), "has become read-only"),
        (MemoryError(), "--training.batch_size"),
        (RuntimeError("std::bad_alloc"), "the memory is not enough"),
        (type("TerminatedWorkerError", (Exception,), {})(), "a worker process was killed"),
        (sqlite_error("SQLITE_BUSY"), "was locked by another process"),
        (sqlite_error("SQLITE_CORRUPT_INDEX"), "is damaged"),
    ],
)
def test_trouble_of_the_machine_is_one_sentence(error: Exception, said: str) -> None:
    assert said in explanation(error)
    assert said in explanation(RuntimeError("of a library"), error)


def test_what_is_not_the_machines_trouble_stays_as_it_is() -> None:
    with pytest.raises(ValueError, match="database is locked"), explained({}):
        raise ValueError("database is locked, says somebody")


def test_a_steps_own_error_is_not_hidden_by_the_cleaning_up_after_it() -> None:
    def step() -> None:
        try:
            raise InvalidDataError("a check failed")
        finally:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(InvalidDataError, match="failed"), explained({}):
        step()


def test_a_silent_server_is_named_and_it_is_the_one_that_was_asked() -> None:
    said = explanation(RuntimeError("of a library"), silence("https://me:secret@downloads.example/file"))

    assert said.startswith("https://downloads.example does not answer")
    assert "MLflow" not in said


def answer(url: str, status: int) -> requests.HTTPError:
    asked, answered = requests.Request("PUT", url).prepare(), requests.Response()
    answered.status_code = status
    return requests.HTTPError("no", request=asked, response=answered)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            silence("https://me:secret@zenml.example/api/v1/steps"),
            "the ZenML server https://zenml.example (ZENML_STORE",
        ),
        (silence(f"{SERVER}/api/2.0/mlflow/runs/get"), f"the MLflow server {SERVER} (MLFLOW_TRACKING_URI"),
        (answer(f"{SERVER}/api/2.0/mlflow-artifacts/artifacts/1", 500), "answers with errors of its own (status 500)"),
        (requests.exceptions.RetryError(request=silence(f"{SERVER}/api/2.0/mlflow/x").request), "its log says why"),
    ],
)
def test_a_server_is_named_by_what_it_was_asked_for(error: Exception, said: str) -> None:
    explained = explanation(RuntimeError("of a library"), error)

    assert said in explained
    assert "secret" not in explained
    assert "the same command resumes" in explained


def test_a_servers_refusal_is_not_taken_for_silence() -> None:
    with pytest.raises(requests.HTTPError), explained({}):
        raise answer(f"{SERVER}/api/2.0/mlflow/runs/get", 404)


@pytest.mark.parametrize(
    ("error", "uri", "said"),
    [
        (silence(f"{SERVER}/api"), SERVER, "http://mlflow.example:5000 does not answer any more"),
        (ConnectionRefusedError(), SERVER, "http://mlflow.example:5000 does not answer any more"),
        (
            MlflowException("lost", TEMPORARILY_UNAVAILABLE),
            "postgresql://me:a/b@host/db",
            "the database of MLflow, postgresql://host/db, does",
        ),
        (MlflowException("no", PERMISSION_DENIED), SERVER, "http://mlflow.example:5000 refuses this user"),
    ],
)
def test_an_mlflow_store_that_is_lost_or_refuses_is_named_without_its_login(
    error: Exception, uri: str, said: str
) -> None:
    with pytest.raises(StoreError) as caught, talking_to_mlflow(uri):
        raise error

    assert str(caught.value).startswith(said)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "uri"),
    [
        (MlflowException("not there", RESOURCE_DOES_NOT_EXIST), SERVER),
        (MlflowException("locked", TEMPORARILY_UNAVAILABLE), "sqlite:///mlflow.db"),
        (KeyError("a mistake of ours"), SERVER),
    ],
)
def test_other_errors_of_mlflow_stay_as_they_are(error: Exception, uri: str) -> None:
    with pytest.raises(type(error)), talking_to_mlflow(uri):
        raise error
