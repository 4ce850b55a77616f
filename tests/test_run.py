import ast
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
        (["--pipelin", "training"], 2),
        (["--pipeline", "import", "--bundle.path", "nowhere.zip"], 2),
    ],
)
def test_help_and_wrong_settings_come_before_any_heavy_import(words: list[str], code: int) -> None:
    line = [sys.executable, "-c", LOADED, *words]

    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, cwd=PROJECT)

    found, loaded = json.loads(done.stdout.splitlines()[-1])
    assert found == code
    assert not {*HEAVY} & {*loaded}


# runs run.py by a Python that says it is of another version, or lacks a package
ELSEWHERE = """
import runpy, sys
if sys.argv[1] == "version":
    sys.version_info = tuple(map(int, sys.argv[2].split(".")))
else:
    sys.modules[sys.argv[2]] = None
sys.argv[:] = ["run.py", *sys.argv[3:]]
sys.path.insert(0, ".")
runpy.run_path("run.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("lacks", "words", "said"),
    [
        (("version", "3.9.1"), ["--help"], "Python 3.11 to 3.13 is needed"),
        (("version", "3.14.0"), ["--help"], "Python 3.11 to 3.13 is needed"),
        (("package", "pydantic"), ["--help"], "the package pydantic is missing"),
        (("package", "mlflow"), ["--compare"], "the package mlflow is missing"),
    ],
)
def test_a_wrong_python_is_told_so_in_one_line(
    lacks: tuple[str, str], words: list[str], said: str, tmp_path: Path
) -> None:
    line = [sys.executable, "-c", ELSEWHERE, *lacks, *words]
    environment = {"FACE_EMOTION__STATE_FOLDER": str(tmp_path)}

    done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert ".venv/bin/python" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_old_python_can_read_run_py() -> None:
    ast.parse((PROJECT / "run.py").read_text(encoding="ascii"), feature_version=(3, 4))


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
        (["--pipelin", "training"], "did you mean --pipeline?"),
        (["--pipeline", "inference", "--inference.input", "nowhere.jpg"], "inference.input nowhere.jpg does not exist"),
        (["--pipeline", "monitoring"], "inference.input is empty"),
        (["--pipeline", "import", "--bundle.path", "nowhere.zip"], "nowhere.zip is not a file"),
        (["--pipeline", "rollback", "--state_folder", "what?"], "contains ?, at which the address"),
        (["--pipeline", "rollback", "--state_folder", "a%20b"], "a % code, which MLflow decodes"),
        (["--reproduce", "abc", "--pipeline", "training"], "--pipeline and --reproduce are commands of their own"),
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


def test_missing_pictures_are_refused_before_tensorflow_is_loaded() -> None:
    line = [sys.executable, "-c", LOADED, "--pipeline", "inference", "--inference.input", "nowhere.jpg"]

    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True, cwd=PROJECT)

    found, loaded = json.loads(done.stdout.splitlines()[-1])
    assert found == 2
    assert not {"keras", "mlflow", "tensorflow", "zenml"} & {*loaded}


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
