import importlib
from pathlib import Path

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


@pytest.mark.parametrize("name", ["training", "tuning", "retraining", "audit"])
def test_a_wrong_table_of_labels_is_refused_before_anything_is_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,action,label\na.png,remove,\n", encoding="utf-8")
    monkeypatch.setattr(run_pipeline, "run_on_stack", lambda *rest: pytest.fail("it was not refused"))
    given = {"dataset": {"reader": "drawn"}, "preprocessing": {"relabel": str(path)}}

    with pytest.raises(UserError, match="line 2: the action 'remove' is not known"):
        run_pipeline.run(Command(pipeline=name, given=given))
