import importlib

import pytest

from commands import run_pipeline
from commands.command_line import Command
from commands.dataset import Loaded
from configs.errors import UserError
from configs.loading import load_settings


def test_what_is_refused_is_refused_before_the_demo_is_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*rest: object) -> None:
        raise UserError("no stack nobody")

    health = importlib.import_module("stack.health")
    settings = load_settings([], {"dataset": {"reader": "drawn"}})
    monkeypatch.setattr(run_pipeline, "load_with_dataset", lambda *rest: Loaded(settings, "DEMO"))
    monkeypatch.setattr(health, "check_stores", refuse)

    with pytest.raises(UserError, match="no stack nobody"):
        run_pipeline.run(Command(pipeline="training"))

    assert "DEMO" not in capsys.readouterr().out
