import os
from contextlib import suppress

import pytest

from configs.environment import changed_environment, without_login


def test_the_environment_is_as_it_was_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "before")
    monkeypatch.delenv("NEW", raising=False)

    with suppress(KeyError), changed_environment({"KEPT": "meanwhile", "NEW": "meanwhile"}):
        assert (os.environ["KEPT"], os.environ["NEW"]) == ("meanwhile", "meanwhile")
        raise KeyError

    assert os.environ["KEPT"] == "before"
    assert "NEW" not in os.environ


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hush@host:5000/path", "http://host:5000/path"),
        ("postgresql://me:hu/sh@host/mlflow is silent", "postgresql://host/mlflow is silent"),
        ("mysql+pymysql://me:h@u/s@h@host/mlflow", "mysql+pymysql://host/mlflow"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("https://host/mail?to=me@work and file:///home/me@work", "https://host/mail?to=me@work and file:///home/me@work"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_login(text: str, shown: str) -> None:
    assert without_login(text) == shown
