import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vision.training.devices import resolve_precision

PROJECT = Path(__file__).resolve().parents[3]
# Without batch normalisation and dropout, whose statistics and masks are each device's own
SCRIPT = """
import json, sys
import keras
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
from vision.training.loop import train_classifier
settings = load_settings([Path(sys.argv[1])], {
    "augmentation": {"flip": False, "rotation_degrees": 0},
    "classifier": {"batch_norm_blocks": [], "head_batch_norm": False, "dropout": 0},
    "training": {"devices": sys.argv[2], "optimizer": "sgd", "weight_decay": 0, "cached_views": 0},
})
faces, _ = preprocess_faces(ingest_faces(settings.dataset, 1), settings.preprocessing, 1)
_, history = train_classifier(
    faces, dict.fromkeys(faces.class_names, 1.0), settings.classifier, settings.augmentation, settings.training, 3,
    Path(sys.argv[3], "b.keras"), Path(sys.argv[3]),
)
print("RESULT", json.dumps([[epoch["loss"], epoch["val_loss"]] for epoch in history.epochs]))
"""


def losses(backend: str, devices: str, small_yaml: Path, folder: Path) -> list[list[float]]:
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(PROJECT), "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }  # fmt: skip
    line = [sys.executable, "-c", SCRIPT, str(small_yaml), devices, str(folder)]
    done = subprocess.run(line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (result,) = [text for text in done.stdout.splitlines() if text.startswith("RESULT ")]
    found: list[list[float]] = json.loads(result.removeprefix("RESULT "))
    return found


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_losses_of_one(backend: str, small_yaml: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")

    one, two = (losses(backend, devices, small_yaml, tmp_path / devices) for devices in ("one", "all"))

    assert two == [pytest.approx(epoch, rel=2e-3) for epoch in one]


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert [resolve_precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert resolve_precision("auto") in ("float32", "bfloat16")
