"""Fixtures: the real settings made small, drawn faces, stores that are set up, and one finished run of the pipeline."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
# every worker of pytest-xdist has one of the two cores
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.update(dict.fromkeys(THREADS, "1"))
for name, value in {
    "ZENML_ANALYTICS_OPT_IN": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ZENML_CONFIG_PATH": tempfile.mkdtemp(prefix="zenml-of-tests-"),
    "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),  # otherwise the main module's folder, which a worker does not have
}.items():
    os.environ[name] = value

import cv2
import numpy as np
import pytest
import yaml
from filelock import FileLock

from configs.loading import load_settings
from configs.settings import Settings
from stack.relocation import relocate
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import preprocess_faces

# what a child process keeps of this one's environment; by the last two its lines count in the coverage
KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
# two short phases of a random VGG-19 with a sixteenth of its channels on small faces: learns little, takes seconds
SMALL: dict[str, Any] = {
    "dataset": {"reader": "drawn", "image_size": 32, "drawn": {"faces": 210}},
    "validation": {"class_count": {"min_count": 2}},
    "preprocessing": {"image_size": 32, "validation_share": 0.2},
    "augmentation": {"random_crop": False},
    "classifier": {"weights": "none", "width": 0.0625, "crop_size": 0, "batch_norm_blocks": [4, 5],
                   "dense_units": [16]},
    "training": {
        "precision": "float32",
        "batch_size": 32,
        "cached_views": 2,
        "phases": [
            {"name": "head", "trainable": ["head"], "epochs": 1, "learning_rate": 0.001, "schedule": "constant",
             "warmup_epochs": 0, "patience": 1},
            {"name": "top", "trainable": ["head", "block5"], "epochs": 1, "learning_rate": 0.001, "schedule": "cosine",
             "warmup_epochs": 0.5, "patience": 1},
        ],
    },
    "evaluation": {"test_time_augmentation": "flip", "bootstrap_samples": 50, "explained_per_class": 1},
    "promotion": {"min_accuracy": 0, "min_macro_f1": 0, "min_worst_class_recall": 0,
                  "max_latency_p95_milliseconds": 60_000, "max_expected_calibration_error": 1,
                  "bootstrap_samples": 200, "latency_samples": 20},
    "onnx": {"enabled": False, "calibration_faces": 32, "latency_batches": [1, 4], "latency_samples": 2},
}  # fmt: skip
# for runs whose network does not matter: ten convolutions instead of sixteen, of which none learns
TOY: dict[str, Any] = {
    **SMALL,
    "classifier": {**SMALL["classifier"], "backbone": "vgg_compact"},
    "training": {**SMALL["training"], "cached_views": 1, "phases": SMALL["training"]["phases"][:1]},
    "evaluation": {**SMALL["evaluation"], "test_time_augmentation": "none"},
}
LONG_FILES = (
    "tests/pipelines/test_life.py",
    "tests/pipelines/test_training.py",
    "tests/test_workflows.py",
    "tests/test_secrets.py",
    "tests/test_docs_life.py",
    "tests/pipelines/test_tuning.py",
    "tests/stack/test_local_stack.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files first that take longest: a worker that starts with one at the end works alone."""

    def place(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        return LONG_FILES.index(file) if file in LONG_FILES else len(LONG_FILES)

    items.sort(key=place)


@pytest.fixture(scope="session")
def small_settings() -> Settings:
    return load_settings([], SMALL)


@pytest.fixture(scope="session")
def drawn(small_settings: Settings) -> FaceSet:
    return ingest_faces(small_settings.dataset, seed=1)


@pytest.fixture(scope="session")
def prepared(drawn: FaceSet, small_settings: Settings) -> FaceSet:
    return preprocess_faces(drawn, small_settings.preprocessing, seed=1)[0]


@pytest.fixture(scope="session")
def dataset_settings(small_settings: Settings) -> Callable[..., Any]:
    """Return dataset settings that read `path`, with whatever else is changed."""

    def change(path: Path, **changes: Any) -> Any:
        return small_settings.dataset.model_copy(update={"path": path, "reader": "auto", **changes})

    return change


def fill_folder(folder: Path, count: int, seed: int = 0, suffix: str = ".png", side: int = 32) -> Path:
    """Write `count` different images into a class folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, *folder.as_posix().encode()[-12:]])
    for number in range(count):
        image = random.integers(0, 256, size=(side, side), dtype=np.uint8)
        cv2.imwrite(str(folder / f"face{number}{suffix}"), image)
    return folder


@pytest.fixture(scope="session")
def write_faces() -> Callable[..., Path]:
    return fill_folder


@dataclass(frozen=True)
class FinishedRun:
    """What a run of `run.py` left behind."""

    code: int
    output: str
    state: Path
    reports: Path
    environment: dict[str, str]

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.state / 'mlflow' / 'mlflow.db'}"

    def home_files(self) -> list[Path]:
        return [path for path in Path(self.environment["HOME"]).rglob("*") if path.is_file()]

    def last_lines(self) -> dict[str, str]:
        lines = [line for line in self.output.splitlines() if len(line) > 28 and line[26:28] == "  "]
        return {line[:28].strip(): line[28:].strip() for line in lines}


def child_environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that knows nothing of this machine's user."""
    home.mkdir(parents=True, exist_ok=True)
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, "HOME": str(home)}


def command(folder: Path, *arguments: str) -> tuple[list[str], dict[str, str], Path, Path]:
    """Return the command, environment, state and reports folder of a run that keeps to `folder`."""
    state, reports = folder / "state", folder / "reports"
    given = ["--state_folder", str(state), "--tracking.reports_folder", str(reports), *arguments]
    line = [sys.executable, str(PROJECT / "run.py"), "--pipeline", "training", *given]
    return line, child_environment(folder / "home"), state, reports


def copy_state(source: Path, target: Path) -> None:
    """Copy a state folder, and tell the copy where it is."""
    shutil.copytree(source, target)
    for backup in relocate(target, source):
        backup.unlink()


SET_UP = """
import sys
from pathlib import Path
from stack.local_stack import prepare_environment, prepare_stack
state = Path(sys.argv[1])
state.mkdir()
prepare_environment(Path.cwd(), state, debug=False)
prepare_stack(state, "face-emotion")
"""


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state folder whose two stores are set up and hold no run; all workers share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "set-up"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            environment = {**child_environment(folder / "home"), "PYTHONPATH": str(PROJECT)}
            subprocess.run(
                [sys.executable, "-c", SET_UP, str(folder / "state")],
                cwd=PROJECT, env=environment, check=True, timeout=400,
            )  # fmt: skip
            (folder / "done").touch()
    return folder / "state"


@pytest.fixture(scope="session")
def set_up(empty_state: Path) -> Callable[[Path], Path]:
    """Return a function that gives a folder a state whose stores are set up, if it has none."""

    def copy(folder: Path) -> Path:
        if not (folder / "state").exists():
            copy_state(empty_state, folder / "state")
        return folder

    return copy


def write_yaml(folder: Path, settings: dict[str, Any]) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def small_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yaml(tmp_path_factory.mktemp("small"), SMALL)


@pytest.fixture(scope="session")
def toy_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_yaml(tmp_path_factory.mktemp("toy"), TOY)


@pytest.fixture(scope="session")
def run_toy(toy_yaml: Path, set_up: Callable[[Path], Path]) -> Callable[..., FinishedRun]:
    """Return a function that runs the pipeline for real, with its stores in a folder and an empty HOME."""

    def run(folder: Path, *arguments: str) -> FinishedRun:
        line, environment, state, reports = command(set_up(folder), "--config", str(toy_yaml), *arguments)
        done = subprocess.run(
            line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=400, check=False
        )
        return FinishedRun(done.returncode, done.stdout + done.stderr, state, reports, environment)

    return run


# several commands in one process, which imports TensorFlow once
DRIVER = """
import json, sys
import run
for arguments in json.loads(sys.argv[1]):
    code = run.main(arguments)
    print(f"\\x1e{code}\\x1e", flush=True)
"""


@pytest.fixture(scope="session")
def run_commands(toy_yaml: Path, set_up: Callable[[Path], Path]) -> Callable[..., list[FinishedRun]]:
    """Return a function that gives run.py one list of arguments after the other, with its stores in a folder."""

    def run(folder: Path, *commands: list[str], config: Path = toy_yaml) -> list[FinishedRun]:
        _, environment, state, reports = command(set_up(folder))
        stores = ["--state_folder", str(state), "--tracking.reports_folder", str(reports), "--config", str(config)]
        lines = json.dumps([[*arguments, *stores] for arguments in commands])
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, lines], env={**environment, "PYTHONPATH": str(PROJECT)}, cwd=PROJECT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        parts = done.stdout.split("\x1e")
        outputs, codes = parts[:-1:2], parts[1::2]
        return [
            FinishedRun(int(code), output, state, reports, environment)
            for output, code in zip(outputs, codes, strict=True)
        ]

    return run


@pytest.fixture(scope="session")
def first_runs(
    run_commands: Callable[..., list[FinishedRun]], small_yaml: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[FinishedRun]:
    """Return a training of a whole VGG-19, a toy's, and one of data that fail their checks, in the same stores."""
    folder, faces = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("faces")
    fill_folder(faces / "happy", 30)
    training = ["--pipeline", "training"]
    whole = [*training, "--classifier.width", "1"]
    invalid = [*training, "--dataset.reader", "auto", "--dataset.path", str(faces)]
    phases = json.dumps(TOY["training"]["phases"])
    toy = [*training, "--classifier.backbone", "vgg_compact", "--training.phases", phases]
    return run_commands(folder, whole, toy, invalid, config=small_yaml)


@pytest.fixture(scope="session")
def finished_run(first_runs: list[FinishedRun]) -> FinishedRun:
    return first_runs[0]
