"""Fixtures: the real settings made small, drawn faces, stores that are set up, and one finished run of the pipeline."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
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
gc.set_threshold(50_000, 20, 20)  # as run.py has it

import cv2
import numpy as np
import pytest
import yaml
from filelock import FileLock

from configs.loading import load_settings
from configs.settings import Settings
from stack.local_stack import library_defaults
from stack.relocation import relocate
from tests.preloaded import Command, PreloadedProcess, leave_writing_to_the_system
from tests.scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler  # noqa: F401
from tests.toy_network import IN_A_PROCESS
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import preprocess_faces

leave_writing_to_the_system()
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


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for what all workers share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_state(tmp_path_factory: pytest.TempPathFactory, preloaded: PreloadedProcess) -> Path:
    """Return a state folder whose two stores are set up and hold no run; all workers share it."""
    folder = shared_folder(tmp_path_factory) / "set-up"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            program = ["-c", SET_UP, str(folder / "state")]
            environment = child_environment(folder / "home")
            ((code, said),) = preloaded.run(PROJECT, environment, [({}, program)], folder / "output.txt")
            assert code == 0, said
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
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreloadedProcess]:
    """Start the process from which those of run.py are forked, which all workers share."""
    folder = shared_folder(tmp_path_factory)
    with FileLock(folder / "preloaded.lock"):
        environment = {**child_environment(folder / "preloaded"), **library_defaults()}
        process = PreloadedProcess(environment, folder / "door")
    yield process
    process.close()


@pytest.fixture(scope="session")
def run_commands(
    toy_yaml: Path, set_up: Callable[[Path], Path], preloaded: PreloadedProcess
) -> Callable[..., list[FinishedRun]]:
    """Return a function that gives run.py one list of words after the other in one process, with TOY's settings under
    them, an empty HOME, its stores in a folder, and what else is said of its environment. A list of `-c` and a program
    runs that.
    """

    def run(folder: Path, *commands: list[str], environment: dict[str, str] | None = None) -> list[FinishedRun]:
        _, known, state, reports = command(set_up(folder))
        stores = ["--state_folder", str(state), "--tracking.reports_folder", str(reports)]
        log = Path(tempfile.mkdtemp(dir=folder), "output.txt")
        toy = ["--config", str(toy_yaml)]
        words: list[Command] = []
        for own in commands:
            under = [] if own[0] == "-c" else stores if "--reproduce" in own else [*stores, *toy]
            words.append(({}, [*under, *own]))
        done = preloaded.run(PROJECT, {**known, **(environment or {})}, words, log)
        return [FinishedRun(code, said, state, reports, known) for code, said in done]

    return run


@pytest.fixture(scope="session")
def run_toy(run_commands: Callable[..., list[FinishedRun]]) -> Callable[..., list[FinishedRun]]:
    """Return `run_commands` for what trains the toy network, and draws no figures."""

    def run(folder: Path, *commands: list[str], environment: dict[str, str] | None = None) -> list[FinishedRun]:
        return run_commands(folder, ["-c", IN_A_PROCESS], *commands, environment=environment)[1:]

    return run
