import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.conftest import PROJECT
from vision.data.faces import TRAIN, FaceSet
from vision.training.batches import Examples, FaceBatches
from vision.training.resident import ResidentBatches, can_reside

SIZE = 4

# trains two epochs by JAX on the CPU, once step by step and once in calls of many steps; prints both losses and traces
BOTH_WAYS = """
import json, sys
from pathlib import Path
import jax
import vision.training.resident as resident
from configs.loading import load_settings
from vision.standalone import prepare_faces, train_faces
from vision.training.augmentation import AUGMENTATIONS
given = {
    "dataset": {"reader": "drawn", "drawn": {"faces": 210}},
    "augmentation": dict.fromkeys(AUGMENTATIONS, 0),
    "classifier": {"width": 0.06, "dropout": 0.0},
    "training": {
        "batch_size": 16, "precision": "float32", "ema_momentum": 0.9,
        "phases": [{"name": "all", "trainable": ["all"], "epochs": 2, "learning_rate": 0.01, "schedule": "cosine",
                    "warmup_epochs": 1, "patience": 9}],
    },
}
settings = load_settings([Path("configs/compact.yaml")], given)
found, traces = {}, 0
step = resident.keras.Model.train_step
def counted(self, state, data):
    global traces
    traces += 1
    return step(self, state, data)
resident.keras.Model.train_step = counted
for platforms in ((), ("cpu",)):
    resident.PLATFORMS, traces = platforms, 0
    faces = prepare_faces(settings)
    history = train_faces(faces, settings, Path(sys.argv[1]) / str(len(platforms)))[1]
    found[len(platforms)] = [traces, [epoch["loss"] for epoch in history.epochs], history.epochs[-1]["val_loss"]]
print(json.dumps(found))
"""


def batches(prepared: FaceSet, teacher: np.ndarray | None = None) -> tuple[FaceBatches, ResidentBatches]:
    examples = Examples(prepared, TRAIN, teacher=teacher)
    plain, resident = (kind(examples, SIZE, np.random.default_rng(3)) for kind in (FaceBatches, ResidentBatches))
    return plain, resident


def test_resident_batches_are_the_places_of_the_plain_ones_in_the_same_order(prepared: FaceSet) -> None:
    plain, resident = batches(prepared)
    examples = resident.examples()

    places = np.concatenate([resident[position][0]["places"] for position in range(len(resident))])

    assert places.shape == (resident.steps, SIZE)
    for chosen, position in zip(places, range(len(plain)), strict=False):
        inputs, labels, _ = plain[position]
        np.testing.assert_array_equal(examples["images"][chosen][..., None], inputs["images"])
        np.testing.assert_array_equal(examples["labels"][chosen], labels.argmax(axis=1))


def test_at_most_a_batch_a_call_is_left_out_of_an_epoch(prepared: FaceSet) -> None:
    plain, resident = batches(prepared)

    assert 0 <= len(plain) - resident.steps < len(resident)
    assert len(resident) < len(plain)


def test_the_teachers_answers_are_held_beside_the_faces(prepared: FaceSet) -> None:
    soft = np.random.default_rng(0).dirichlet(np.ones(7), len(prepared.rows(TRAIN)))

    np.testing.assert_allclose(batches(prepared, soft)[1].examples()["teacher"], soft, rtol=1e-6)


def test_faces_stay_with_the_batches_under_tensorflow(prepared: FaceSet) -> None:
    assert not can_reside(prepared, SIZE, "one")


def test_fewer_training_faces_than_a_batch_do_not_stay_on_the_device(
    prepared: FaceSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(default_backend=lambda: "gpu", process_count=lambda: 1))
    taught = len(prepared.rows(TRAIN))

    assert taught < len(prepared)
    assert can_reside(prepared, taught, "one")
    assert not can_reside(prepared, taught + 1, "one")


def test_under_jax_many_compiled_steps_in_one_call_learn_what_single_steps_learn(tmp_path: Path) -> None:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed; the dependency group `bare` has it")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    line = [sys.executable, "-c", BOTH_WAYS, str(tmp_path)]

    done = subprocess.run(line, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    (single, losses, scored), (together, resident_losses, resident_scored) = found["0"], found["1"]
    assert (single, together) == (1, 1)  # a second epoch traces nothing
    np.testing.assert_allclose(resident_losses, losses, rtol=0.03)  # the order of the faces differs
    np.testing.assert_allclose(resident_scored, scored, rtol=0.05)
