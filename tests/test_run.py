import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import run
from configs.errors import UserError
from tests.conftest import PROJECT, command


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(PROJECT / "run.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT)


def test_help_lists_pipelines_and_settings_without_heavy_imports() -> None:
    started = time.monotonic()
    done = call("--help")
    seconds = time.monotonic() - started

    assert done.returncode == 0
    assert "pipelines: training" in done.stdout
    assert "--training.batch_size" in done.stdout
    assert seconds < 3  # 0.4 s on an idle machine; importing Keras alone takes longer than this


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pipeline", "trainig"], "unknown pipeline 'trainig'; choose one with --pipeline: training"),
        ([], "no pipeline was named; choose one with --pipeline: training"),
        (["--pipeline", "training", "--seed"], "--seed has no value"),
        (["--pipeline", "training", "seed", "3"], "unexpected argument 'seed'"),
        (["--pipeline", "training", "--seed", "-1"], "seed = '-1': Input should be greater than or equal to 0"),
        (["--pipeline", "training", "--seed.x", "1"], "seed = {'x': '1'}"),
        (["--pipeline", "training", "--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--pipeline", "training", "--training.phases", "[1, 2"], "--training.phases [1, 2 is no valid YAML"),
        (["--pipeline", "training", "--seed", "1", "--seed.x", "1"], "--seed.x: seed was given a value"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message_and_code_2(arguments: list[str], said: str) -> None:
    done = call(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_stack_trace_of_a_mistake_and_keeps_its_code() -> None:
    done = call("--pipeline", "training", "--seed", "-1", "--debug")

    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "error: wrong settings" in done.stderr


def test_values_are_nested_and_lists_are_read_as_yaml() -> None:
    _, given = run.parse_arguments(["--a.b", "1", "--a.c=[x, 2]", "--pipeline", "training", "--d", "two words"])

    assert given == {"a": {"b": "1", "c": ["x", 2]}, "d": "two words"}


def settings_for(path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """The settings that the command line gives when `path` is the project."""
    monkeypatch.setattr(run, "PROJECT", path)
    return run.settings_or_demo(*run.parse_arguments(["--pipeline", "training", *arguments]))


def test_without_data_the_demo_is_drawn_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_for(tmp_path, monkeypatch)

    assert (settings.dataset.reader, settings.classifier.weights) == ("drawn", "none")
    assert "DEMO" in capsys.readouterr().out


def test_data_in_the_data_folder_is_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    write_faces: Callable[..., Path],
) -> None:
    write_faces(tmp_path / "data" / "happy", 1)

    settings = settings_for(tmp_path, monkeypatch)

    assert (settings.dataset.reader, settings.classifier.weights) == ("folder", "imagenet")
    assert capsys.readouterr().out == ""


def test_a_path_that_was_named_is_never_replaced_by_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dataset\.path nowhere does not exist"):
        settings_for(tmp_path, monkeypatch, "--dataset.path", "nowhere")


def test_only_training_falls_back_to_drawn_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PROJECT", tmp_path)

    with pytest.raises(UserError, match=r"dataset\.path .*data does not exist"):
        run.settings_or_demo(*run.parse_arguments(["--pipeline", "retraining"]))


@pytest.mark.parametrize(("name", "setting"), [("state", "state_folder"), ("reports", "tracking.reports_folder")])
def test_a_folder_that_cannot_be_made_is_named(name: str, setting: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a file, where a folder should be")
    line, environment, *_ = command(tmp_path)

    done = subprocess.run(line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert f"{setting} {tmp_path / name} cannot be written" in done.stderr


def test_unknown_options_are_not_taken_for_known_ones() -> None:
    with pytest.raises(UserError, match="--pipe has no value"):
        run.parse_arguments(["--pipe"])
