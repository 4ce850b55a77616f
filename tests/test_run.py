import json
import subprocess
import sys
from pathlib import Path

import pytest

import run
from tests.conftest import PROJECT, command

HEAVY = ("cv2", "great_expectations", "keras", "matplotlib", "mlflow", "numpy", "pandas", "tensorflow", "zenml")
LOADED = """
import json, sys
import run
try:
    code = run.main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--pipeline", "training", "--seed", "-1"], 2),
        (["--compare", "--seed", "-1"], 2),
        (["--doctor", "--seed", "-1"], 2),
        (["--reproduce", "abc", "--seed", "-1"], 2),
    ],
)
def test_help_and_wrong_settings_come_before_any_heavy_import(words: list[str], code: int) -> None:
    line = [sys.executable, "-c", LOADED, *words]

    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, cwd=PROJECT)

    found, loaded = json.loads(done.stdout.splitlines()[-1])
    assert found == code
    assert not {*HEAVY} & {*loaded}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pipeline", "trainig"], "unknown pipeline 'trainig'; choose one with --pipeline: training"),
        ([], "no pipeline was named; choose one with --pipeline: training"),
        (["--pipeline", "training", "--seed"], "--seed has no value"),
        (["--pipeline", "training", "--seed", "-1"], "seed = '-1': Input should be greater than or equal to 0"),
        (["--pipeline", "training", "--seed.x", "1"], "seed = {'x': '1'}"),
        (["--pipeline", "export", "--training.optimiser", "x"], "training.optimiser = 'x': unknown setting; allowed"),
        (["--pipeline", "training", "--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--reproduce", "abc", "--pipeline", "training"], "--reproduce takes pipeline and settings from the run"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_message_and_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run.main(words)

    shown = capsys.readouterr().err
    assert code == 2
    assert shown.startswith("error: ")
    assert said in shown
    assert "Traceback" not in shown


def test_debug_shows_the_stack_trace_of_a_mistake_and_keeps_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    code = run.main(["--pipeline", "training", "--seed", "-1", "--debug"])

    shown = capsys.readouterr().err
    assert code == 2
    assert "Traceback" in shown
    assert "error: wrong settings" in shown


@pytest.mark.parametrize(("name", "setting"), [("state", "state_folder"), ("reports", "tracking.reports_folder")])
def test_a_folder_that_cannot_be_made_is_named(name: str, setting: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a file, where a folder should be")
    line, environment, *_ = command(tmp_path)

    done = subprocess.run(line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert f"{setting} {tmp_path / name} cannot be written" in done.stderr
