from types import SimpleNamespace
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from stack import registry
from stack.error_messages import StoreError
from stack.registry import CHAMPION, ModelError, champion_of, find_alias, find_version

FOUND = SimpleNamespace(name="emotions", version=3, run_id="abc", tags={"decision": "promoted"})


class Client:
    """Answers as an MLflow client would, with a version or an error."""

    tracking_uri = "http://mlflow.example"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    get_model_version = get_model_version_by_alias


@pytest.mark.parametrize("code", [RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE])
def test_an_alias_that_nobody_holds_is_none(code: int) -> None:
    assert find_alias("emotions", CHAMPION, Client(MlflowException("no", code))) is None


def test_an_alias_is_a_version_whose_number_is_text() -> None:
    found = find_alias("emotions", CHAMPION, Client(FOUND))

    assert found is not None
    assert (found.number, found.uri, found.tags) == ("3", "models:/emotions/3", {"decision": "promoted"})


def test_a_registry_that_fails_is_not_taken_for_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    silence = requests.ConnectionError("no answer", request=requests.Request("GET", "http://mlflow.example").prepare())
    with pytest.raises(MlflowException):
        find_alias("emotions", CHAMPION, Client(MlflowException("of its own", INTERNAL_ERROR)))
    with pytest.raises(StoreError, match=r"http://mlflow\.example does not answer"):
        find_alias("emotions", CHAMPION, Client(silence))
    monkeypatch.setattr(registry, "MlflowClient", lambda: Client(silence))
    with pytest.raises(StoreError):
        find_version("models:/emotions/3")


def test_without_a_champion_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = MlflowException("no", RESOURCE_DOES_NOT_EXIST)
    monkeypatch.setattr(registry, "MlflowClient", lambda: Client(missing))

    with pytest.raises(ModelError, match=r"emotions has no champion; .*--pipeline training.*--pipeline import"):
        champion_of("emotions")
    with pytest.raises(ModelError, match="models:/emotions/9 is not a registered version"):
        find_version("models:/emotions/9")


def test_what_zenml_does_not_show_is_said_and_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(*arguments: str) -> None:
        raise RuntimeError("database is locked")

    monkeypatch.setattr(registry, "_mirror_stage", locked)

    registry.mirror_stage("emotions", "3", CHAMPION)

    said = "version 3 of emotions is the champion; ZenML does not show it as that: database is locked"
    assert said in caplog.text
