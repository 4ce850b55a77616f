import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from tests.conftest import PROJECT
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.training.batches import Examples, FaceBatches, Share
from vision.training.hosts import join_hosts, refuse_hosts, wait_for_first
from vision.training.recipe import Recipe
from vision.training.together import check_recipe

TWO_TASKS = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
# A bare training by JAX on the CPU in a folder, with a seed of its own data; an epoch may be its last. Hosts add up in
# another order than one does. At a learning rate of 0.01 the seventh digit that differed in the fourth batch had become
# 3% of the loss after twenty, in a network this small; at 0.001 it stays a rounding error.
BARE = """
import json, sys
from pathlib import Path
import vision.standalone as standalone
from configs.loading import load_settings
from vision.training.augmentation import AUGMENTATIONS
folder, seed, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
given = {
    "seed": seed,
    "dataset": {"reader": "drawn", "drawn": {"faces": 210}},
    "augmentation": {**dict.fromkeys(AUGMENTATIONS, 0), "flip": True, "rotation_degrees": 10},
    "classifier": {"width": 0.06, "dropout": 0.2},
    "evaluation": {"test_time_augmentation": "none", "bootstrap_samples": 20},
    "training": {
        "batch_size": 16, "precision": "float32", "ema_momentum": 0.9, "cached_views": 0, "monitor": "val_loss",
        "phases": [{"name": "all", "trainable": ["all"], "epochs": 2, "learning_rate": 0.001, "schedule": "cosine",
                    "warmup_epochs": 1, "patience": 9}],
    },
}
train = standalone.train_classifier
def stopping(data, recipe, paths, hook, after):
    def stop(epoch, metrics):
        if epoch == last:
            raise KeyboardInterrupt
    return train(data, recipe, paths, stop, after)
standalone.train_classifier = stopping
standalone.train_recipe(load_settings([Path("configs/compact.yaml")], given), folder)
"""


def bare(folder: Path, seeds: tuple[int, ...], last: int = 0) -> list[str]:
    """Train in a process for each seed, together where there are several; return what each said last."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for number, seed in enumerate(seeds):
        environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
        if len(seeds) > 1:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(seeds)),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
            }
        line = [sys.executable, "-c", BARE, str(folder), str(seed), str(last)]
        started.append(subprocess.Popen(line, env=environment, cwd=PROJECT, stderr=subprocess.PIPE, text=True))
    try:
        return [process.communicate(timeout=600)[1] for process in started]
    finally:
        for process in started:
            process.kill()


def learned(folder: Path) -> np.ndarray[Any, Any]:
    """Return the losses of all epochs, and the best epoch's weights."""
    import keras

    epochs = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["epochs"]
    weights = keras.models.load_model(folder / "classifier.keras", compile=False).get_weights()
    losses = [epoch[name] for epoch in epochs for name in ("loss", "val_loss")]
    return np.concatenate([losses, *map(np.ravel, weights)])


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray[Any, Any]:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed; the dependency group `bare` has it")
    folder = tmp_path_factory.mktemp("one")
    said = bare(folder, (1,))
    assert (folder / "scores.json").is_file(), said
    return learned(folder)


def test_two_hosts_learn_what_one_learns_with_the_same_batches(one: np.ndarray[Any, Any], tmp_path: Path) -> None:
    said = bare(tmp_path, (1, 1))

    assert (tmp_path / "scores.json").is_file(), said
    np.testing.assert_array_equal(learned(tmp_path / "host-1"), learned(tmp_path))
    np.testing.assert_allclose(learned(tmp_path), one, rtol=1e-4, atol=1e-5)


def test_hosts_resume_from_the_state_of_the_first(one: np.ndarray[Any, Any], tmp_path: Path) -> None:
    bare(tmp_path, (1, 1), last=1)
    assert not (tmp_path / "scores.json").is_file()
    shutil.rmtree(tmp_path / "host-1")

    said = bare(tmp_path, (1, 1))

    assert (tmp_path / "scores.json").is_file(), said
    np.testing.assert_allclose(learned(tmp_path), one, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("one")
def test_hosts_with_other_faces_stop_before_the_first_epoch(tmp_path: Path) -> None:
    said = bare(tmp_path, (1, 2))

    assert all("the hosts do not train the same: their data, settings differ" in lines for lines in said), said


def test_the_parts_of_the_hosts_are_the_batch(prepared: FaceSet) -> None:
    def batches(share: Share) -> FaceBatches:
        return FaceBatches(Examples(prepared, TRAIN), 8, np.random.default_rng(3), share=share)

    parts = [batches(Share(part, 2))[1] for part in (0, 1)]

    whole = batches(Share())[1]
    for name in ("images", "labels"):
        np.testing.assert_array_equal(np.concatenate([part[0][name] for part in parts]), whole[0][name])


def test_each_device_scores_all_of_a_validation_batch(prepared: FaceSet) -> None:
    once, twice = (FaceBatches(Examples(prepared, VALIDATION), 8, share=Share(0, 2, copies)) for copies in (1, 2))

    np.testing.assert_array_equal(twice[-1 % len(twice)][2], np.tile(once[len(once) - 1][2], 2))


def test_tensorflows_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", TWO_TASKS)

    with pytest.raises(UserError, match=r"TF_CONFIG names 2 hosts, .*keras#20585.* --bare and KERAS_BACKEND=jax"):
        join_hosts()


def test_a_cluster_of_one_is_not_several_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}}')

    assert join_hosts() == 0


@pytest.mark.parametrize("given", ["{", "[]", '{"cluster": [1]}', '{"cluster": {"worker": 7}}'])
def test_a_broken_configuration_of_tensorflow_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("TF_CONFIG", given)

    with pytest.raises(UserError, match="TF_CONFIG is not what TensorFlow writes there"):
        join_hosts()


@pytest.mark.parametrize(
    ("count", "number"), [("2", "2"), ("2", "-1"), ("two", "0"), ("2", "")], ids=["high", "low", "word", "missing"]
)
def test_hosts_that_are_named_incompletely_are_refused(
    monkeypatch: pytest.MonkeyPatch, count: str, number: str
) -> None:
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "127.0.0.1:1")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", count)
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", number)

    with pytest.raises(UserError, match=r"several hosts need KERAS_DISTRIBUTION_JOB_ADDRESSES .*0 to one less"):
        join_hosts()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", "127.0.0.1:high", "127.0.0.1:99999"])
def test_a_first_host_that_does_not_answer_is_one_sentence(address: str) -> None:
    with pytest.raises(UserError, match=f"{address}: the first host does not answer there"):
        wait_for_first(address, seconds=0.0)


def test_other_backends_and_pipelines_refuse_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")

    with pytest.raises(UserError, match="several hosts train by JAX only, KERAS_BACKEND is tensorflow"):
        join_hosts()
    with pytest.raises(UserError, match="only --bare trains on several hosts"):
        refuse_hosts()


def test_what_each_host_would_compute_by_itself_is_refused(toy_settings: Settings) -> None:
    training = toy_settings.training.model_copy(update={"cached_views": 2, "minutes": 5.0})
    recipe = Recipe(toy_settings.classifier, toy_settings.augmentation, training, 0)

    with pytest.raises(UserError, match=r"training\.cached_views 0, training\.minutes 0; set that"):
        check_recipe(recipe)

    check_recipe(replace(recipe, training=training.model_copy(update={"cached_views": 0, "minutes": 0.0})))
