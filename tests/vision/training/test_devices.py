import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.conftest import PROJECT
from tests.preloaded import PreloadedProcess
from vision.training.devices import clear_session, resolve_precision

# A toy without batch normalisation and dropout, whose statistics and masks are each device's own
SCRIPT = """
import json, sys
import keras
import numpy as np
from pathlib import Path
backend = keras.backend.backend()
if backend == "tensorflow":
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
from configs.loading import load_settings
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import preprocess_faces
from vision.model.backbones import BACKBONES
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

def toy_backbone(settings, side, weights, dtype):
    def append(pixels):
        x = keras.layers.Rescaling(1 / 255)(pixels)
        for block in (1, 2):
            x = keras.layers.Conv2D(8, 3, 2, activation="relu", name=f"block{block}_conv1", dtype=dtype)(x)
        return x
    return append

BACKBONES["vgg_compact"] = toy_backbone
phase = {"name": "x", "trainable": ["head", "block2"], "epochs": 2, "learning_rate": 0.05, "schedule": "constant",
         "warmup_epochs": 0, "patience": 2}
settings = load_settings([Path(sys.argv[1])], {
    "augmentation": {"flip": False, "rotation_degrees": 0},
    "classifier": {"backbone": "vgg_compact", "batch_norm_blocks": [], "head_batch_norm": False, "dropout": 0},
    "training": {"optimizer": "sgd", "weight_decay": 0, "cached_views": 0, "phases": [phase]},
})
faces, _ = preprocess_faces(ingest_faces(settings.dataset, 1), settings.preprocessing, 1)
# whole batches, of which each device has a half
faces = faces.take(np.concatenate([faces.rows("train")[:64], faces.rows("validation")[:32]]))
data = TrainingData(faces, dict.fromkeys(faces.class_names, 1.0))
for devices in ("one", "all"):
    training = settings.training.model_copy(update={"devices": devices})
    recipe = Recipe(settings.classifier, settings.augmentation, training, 3)
    folder = Path(sys.argv[2], devices)
    _, history = train_classifier(data, recipe, TrainingPaths(folder / "b.keras", folder / "features"))
    print("RESULT", json.dumps([[epoch["loss"], epoch["val_loss"]] for epoch in history.epochs]))
"""


def said_by(backend: str, words: list[str], folder: Path, preloaded: PreloadedProcess) -> str:
    """Return what the script prints in a process of its own, which has not used its devices yet."""
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }  # fmt: skip
    if backend == "tensorflow":
        ((code, said),) = preloaded.run(PROJECT, environment, [({}, ["-c", SCRIPT, *words])], folder / "output.txt")
        assert code == 0, said
        return said
    line = [sys.executable, "-c", SCRIPT, *words]
    done = subprocess.run(line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_losses_of_one(
    backend: str, small_yaml: Path, tmp_path: Path, preloaded: PreloadedProcess
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")

    said = said_by(backend, [str(small_yaml), str(tmp_path)], tmp_path, preloaded)

    results = [text.removeprefix("RESULT ") for text in said.splitlines() if text.startswith("RESULT ")]
    one, two = map(json.loads, results)

    assert two == [pytest.approx(epoch, rel=1e-4) for epoch in one]
    assert one[1] != pytest.approx(one[0], rel=2e-3)  # so that a wrong step would show


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert [resolve_precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert resolve_precision("auto") in ("float32", "bfloat16")


@pytest.mark.parametrize("shown", [False, True])
def test_what_keras_forgets_is_not_whether_it_shows_progress_bars(shown: bool) -> None:
    before = keras.config.is_interactive_logging_enabled()
    switches = {True: keras.config.enable_interactive_logging, False: keras.config.disable_interactive_logging}
    switches[shown]()
    keras.layers.Dense(1)

    try:
        clear_session()

        assert keras.config.is_interactive_logging_enabled() is shown
        assert keras.layers.Dense(1).name == "dense"
    finally:
        switches[before]()
