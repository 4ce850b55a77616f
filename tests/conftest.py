"""Fixtures: the real settings made small, drawn faces, and one finished run of the whole pipeline."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name, value in {
    "ZENML_ANALYTICS_OPT_IN": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ZENML_CONFIG_PATH": tempfile.mkdtemp(prefix="zenml-of-tests-"),
}.items():
    os.environ[name] = value

import cv2
import numpy as np
import pytest

from configs.loading import load_settings
from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import preprocess_faces

PROJECT = Path(__file__).resolve().parents[1]
# one short phase of a random VGG-19 on small faces: learns little, takes seconds
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


@pytest.fixture(scope="session")
def write_faces() -> Callable[..., Path]:
    """Return a function that writes `count` different images into a class folder."""

    def write(folder: Path, count: int, seed: int = 0, suffix: str = ".png", side: int = 32) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng([seed, *folder.as_posix().encode()[-12:]])
        for number in range(count):
            image = random.integers(0, 256, size=(side, side), dtype=np.uint8)
            cv2.imwrite(str(folder / f"face{number}{suffix}"), image)
        return folder

    return write


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


def command(folder: Path, *arguments: str) -> tuple[list[str], dict[str, str], Path, Path]:
    """Return the command, environment, state and reports folder of a run that keeps to `folder`."""
    state, reports = folder / "state", folder / "reports"
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(home)}
    given = ["--state_folder", str(state), "--tracking.reports_folder", str(reports), *arguments]
    return [sys.executable, str(PROJECT / "run.py"), "--pipeline", "training", *given], environment, state, reports


@pytest.fixture(scope="session")
def small_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import yaml

    path = tmp_path_factory.mktemp("configs") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run_small(small_yaml: Path) -> Callable[..., FinishedRun]:
    """Return a function that runs the pipeline for real, with its stores in a folder and an empty HOME."""

    def run(folder: Path, *arguments: str) -> FinishedRun:
        line, environment, state, reports = command(folder, "--config", str(small_yaml), *arguments)
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
def run_commands(small_yaml: Path) -> Callable[..., list[FinishedRun]]:
    """Return a function that gives run.py one list of arguments after the other, with its stores in a folder."""

    def run(folder: Path, *commands: list[str]) -> list[FinishedRun]:
        _, environment, state, reports = command(folder)
        stores = ["--state_folder", str(state), "--tracking.reports_folder", str(reports), "--config", str(small_yaml)]
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
def finished_run(run_small: Callable[..., FinishedRun], tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return run_small(tmp_path_factory.mktemp("run"))
