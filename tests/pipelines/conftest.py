"""Fixtures: a model's whole life through run.py, on drawn faces and two real SQLite MLflow stores."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from configs.loading import load_settings
from tests.conftest import SMALL, FinishedRun, fill_folder
from vision.data.ingestion import ingest_faces

EVERYTHING = {
    "name": "everything", "trainable": ["all"], "epochs": 10, "learning_rate": 0.003, "schedule": "cosine",
    "warmup_epochs": 0.5, "patience": 10,
}  # fmt: skip
BETTER = [
    "--training.phases", json.dumps([EVERYTHING]), "--training.batch_size", "16", "--dataset.drawn.faces", "420",
    "--classifier.width", "0.25", "--augmentation.rotation_degrees", "0", "--augmentation.shift", "0",
]  # fmt: skip
# the toy network sees where in a face something is only so, and it learns too little to forget anything again
LEARN = [*BETTER, "--classifier.pooling", "flatten", "--classifier.dense_units", "[]", "--classifier.dropout", "0"]
PLAIN = ["--pipeline", "training"]
TRAIN = [*PLAIN, "--promotion.allow_drawn", "true"]


@dataclass(frozen=True)
class Life:
    """The commands' outcomes by name, and the folders of the two stores."""

    steps: dict[str, FinishedRun]
    first: Path
    second: Path
    bundle: Path


@pytest.fixture(scope="session")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the faces of another drawn set, and one file that is not a picture."""
    folder = tmp_path_factory.mktemp("crops")
    settings = load_settings([], {**SMALL, "seed": 7})
    for number, image in enumerate(ingest_faces(settings.dataset, seed=7).images):
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="session")
def bright(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the same faces, each 60 grey levels brighter."""
    folder = tmp_path_factory.mktemp("bright")
    for path in crops.glob("[0-9]*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(int) + 60
        cv2.imwrite(str(folder / path.name), np.clip(image, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def life(
    run_commands: Callable[..., list[FinishedRun]],
    run_toy: Callable[..., list[FinishedRun]],
    tmp_path_factory: pytest.TempPathFactory,
    small_yaml: Path,
    crops: Path,
    bright: Path,
) -> Life:
    first, second, faces = (tmp_path_factory.mktemp(name) for name in ("first", "second", "faces"))
    fill_folder(faces / "happy", 30)
    bundle = first / "champion.zip"
    predict = ["--inference.detect", "false", "--inference.output", str(second / "predictions"), "--inference.input"]
    whole = ["--config", str(small_yaml), "--classifier.backbone", "vgg19", *TRAIN]
    (done,) = run_commands(first, whole)
    steps = {"first": done}
    begin = {
        "invalid": [*PLAIN, "--dataset.reader", "auto", "--dataset.path", str(faces)],
        "better": [*TRAIN, *LEARN],
    }
    steps |= zip(begin, run_toy(first, *begin.values()), strict=True)
    for name in ("artifacts/preview_augmentation", "checkpoints", "features"):  # to free space, say
        shutil.rmtree(first / "state" / name)
    here = {
        "reproduced": ["--reproduce", steps["better"].last_lines()["MLflow run"]],
        "rollback": ["--pipeline", "rollback", "--rollback.reason", "a test"],
        "forward": ["--pipeline", "rollback", "--rollback.version", "2"],
        "export": ["--pipeline", "export", "--bundle.path", str(bundle)],
    }
    there = {
        "import": ["--pipeline", "import", "--bundle.path", str(bundle)],
        "import again": ["--pipeline", "import", "--bundle.path", str(bundle)],
        "predict": ["--pipeline", "inference", *predict, str(crops)],
        "predict again": ["--pipeline", "inference", *predict, str(crops)],
        "monitor": ["--pipeline", "monitoring", *predict, str(crops)],
        "monitor bright": ["--pipeline", "monitoring", *predict, str(bright)],
        "retrain": ["--pipeline", "retraining", *LEARN],
    }
    steps |= zip(here, run_toy(first, *here.values()), strict=True)
    steps |= zip(there, run_toy(second, *there.values()), strict=True)
    return Life(steps, first, second, bundle)


@pytest.fixture(scope="session")
def finished_run(life: Life) -> FinishedRun:
    """Return the training of a VGG-19, the first in its stores."""
    return life.steps["first"]
