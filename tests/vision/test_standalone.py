import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from configs.training_settings import TrainingSettings
from tests.conftest import PROJECT
from vision.data.faces import FaceSet
from vision.data.preprocessing import IN_TRAINING
from vision.model.classifier import build_classifier, predict
from vision.standalone import CLASSIFIER, SCORES, planned_settings, score_recipe, summarize, train_recipe
from vision.training.history import TrainingHistory

WITHOUT = """
import sys
from importlib.machinery import ModuleSpec
class Absent:  # can be looked for, as PyTorch does, but not imported
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in ("zenml", "mlflow", *sys.argv[1].split(",")) else None
    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name)
    def exec_module(self, module):
        raise ModuleNotFoundError(module.__name__)
sys.meta_path.insert(0, Absent())
from tests.toy_network import toy_backbone
from vision.model.backbones import BACKBONES
BACKBONES["vgg_compact"] = toy_backbone
import run
sys.exit(run.main(sys.argv[2:]))
"""


def train(backend: str, folder: Path, *arguments: str, without: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(PROJECT), "HOME": str(folder)}
    line = [sys.executable, "-c", WITHOUT, without, "--bare", str(folder / "out"), *arguments]
    return subprocess.run(line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)


# the GPU's recipe with all that it switches on, and the toy network
SHORT = (
    "--classifier.backbone", "vgg_compact", "--classifier.weights", "none",
    "--dataset.reader", "drawn", "--dataset.drawn.faces", "210", "--preprocessing.validation_share", "0.2",
    "--training.batch_size", "32", "--training.phases",
    "[{name: all, trainable: [all], epochs: 2, learning_rate: 0.02, schedule: cosine, "
    "warmup_epochs: 1, patience: 9}]",
)  # fmt: skip


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(small_settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(UserError, match=r"--bare .*file is not a folder that can be made: File exists; name another"):
        train_recipe(small_settings, tmp_path / "file")


def finished(**facts: Any) -> TrainingHistory:
    return TrainingHistory(
        epochs=[{"seconds": 1.0, "val_accuracy": 0.5}], phases=["all"], monitor="val_accuracy", best_epoch=1,
        precision="float32", state="", figures={}, **facts,
        repeatable=True,
    )  # fmt: skip


def test_the_settings_beside_the_scores_have_the_planned_epochs_in_place_of_minutes(small_settings: Settings) -> None:
    by_minutes = small_settings.training.model_copy(update={"minutes": 50.0})
    planned = [phase.model_copy(update={"epochs": 7}) for phase in by_minutes.phases]
    settings = small_settings.model_copy(update={"training": by_minutes})

    kept = planned_settings(settings, finished(planned=[phase.model_dump(mode="json") for phase in planned]))

    assert TrainingSettings(**kept["training"]) == by_minutes.model_copy(
        update={"minutes": 0.0, "phases": tuple(planned)}
    )


def test_without_a_clean_test_face_the_summary_says_so(
    prepared: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)
    classifier = build_classifier(small_settings.classifier, 32, 7)
    learnt = replace(prepared, table=prepared.table.assign(**{IN_TRAINING: True}))

    scores = score_recipe(classifier, learnt, small_settings)
    history = finished()

    assert set(scores) == {"test, one view", "test, flip"}
    assert summarize(scores, history, tmp_path)["clean test"] == "none: every test face also came as training"


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_gpu_recipe_trains_by_each_backend_without_zenml_and_mlflow(backend: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    others = "" if backend == "tensorflow" else "tensorflow"

    done = train(backend, tmp_path, "--config", str(PROJECT / "configs" / "gpu.yaml"), *SHORT, without=others)

    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{backend}, bfloat16" in done.stdout
    facts = json.loads((tmp_path / "out" / SCORES).read_text(encoding="utf-8"))
    assert set(facts["scores"]) == {"test, one view", "clean test, one view", "test, ten-crop", "clean test, ten-crop"}
    classifier = keras.saving.load_model(tmp_path / "out" / CLASSIFIER, safe_mode=True)
    assert predict(classifier, np.zeros((2, 48, 48), dtype=np.uint8), 2).shape == (2, 7)
