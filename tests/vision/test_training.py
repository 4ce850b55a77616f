import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import PhaseSettings, Settings
from vision.classifier import predict
from vision.faces import TRAIN, VALIDATION, FaceSet
from vision.training import (
    FaceBatches,
    TrainingHistory,
    TrainingStoppedError,
    calibrate_classifier,
    learning_rate,
    train_classifier,
)

EVEN = dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 1.0)


def train(
    faces: FaceSet, settings: Settings, checkpoint: Path, hook: Any = lambda epoch, metrics: None, **changes: Any
) -> tuple[keras.Model, TrainingHistory]:
    training = settings.training.model_copy(update=changes)
    return train_classifier(faces, EVEN, settings.classifier, settings.augmentation, training, 3, checkpoint, hook)


def curve(history: TrainingHistory) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]


@pytest.fixture(scope="module")
def trained(prepared: FaceSet, small_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Any:
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "best.keras"
    return (*train(prepared, small_settings, checkpoint), checkpoint)


def test_two_runs_with_one_seed_give_the_same_curve(
    trained: Any, prepared: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    _, history = train(prepared, small_settings, tmp_path / "best.keras")

    assert curve(history) == curve(trained[1])


def test_the_returned_model_and_the_checkpoint_are_the_best_epoch(trained: Any, prepared: FaceSet) -> None:
    model, history, checkpoint = trained
    rows = prepared.rows(VALIDATION)

    for candidate in (model, keras.saving.load_model(checkpoint, safe_mode=True)):
        accuracy = (predict(candidate, prepared.images[rows], 32).argmax(axis=1) == prepared.labels[rows]).mean()

        assert accuracy == pytest.approx(history.best["val_accuracy"])
    assert history.best["val_accuracy"] == max(epoch["val_accuracy"] for epoch in history.epochs)


def test_ctrl_c_keeps_the_best_checkpoint_and_names_it(
    prepared: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    def interrupt(epoch: int, metrics: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(TrainingStoppedError, match=r"after 1 of 2 epochs; the best epoch so far \(1, .*best\.keras"):
        train(prepared, small_settings, tmp_path / "best.keras", interrupt)

    keras.saving.load_model(tmp_path / "best.keras", safe_mode=True)


def test_a_diverging_loss_names_the_learning_rate(prepared: FaceSet, small_settings: Settings, tmp_path: Path) -> None:
    wild = small_settings.training.phases[0].model_copy(update={"learning_rate": 10.0, "epochs": 6, "patience": 6})
    everything = wild.model_copy(update={"trainable": ("all",)})

    with pytest.raises(UserError, match=r"training diverged in epoch .*learning_rate"):
        train(prepared, small_settings, tmp_path / "b.keras", phases=(everything,), optimizer="sgd", weight_decay=0.0)


def test_a_plateau_lowers_the_learning_rate_and_then_ends_the_phase(
    prepared: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    # with a learning rate near 0, and no statistics that follow the batches, nothing improves after the first epoch
    head = small_settings.classifier.model_copy(update={"head_batch_norm": False})
    settings = small_settings.model_copy(update={"classifier": head})
    update = {"learning_rate": 1e-9, "schedule": "plateau", "epochs": 9, "patience": 2}
    still = small_settings.training.phases[0].model_copy(update=update)

    _, history = train(prepared, settings, tmp_path / "b.keras", phases=(still,), plateau_patience=1)

    assert len(history.epochs) == 3
    assert [epoch["learning_rate"] for epoch in history.epochs] == pytest.approx([1e-9, 1e-9, 5e-10])


def test_oversampling_shows_rare_classes_as_often_as_others(prepared: FaceSet) -> None:
    counts = np.bincount(prepared.labels[prepared.rows(TRAIN)], minlength=7)
    weights = counts.sum() / (7 * counts)

    batches = FaceBatches(prepared, TRAIN, 32, np.random.default_rng(0), weights, oversample=True)
    shown = sum(batches[position][1].sum(axis=0) for position in range(len(batches)))

    assert counts.max() / counts.min() > 10
    assert shown.max() / shown.min() < 4


def test_class_weights_reach_the_loss_as_sample_weights(prepared: FaceSet) -> None:
    batches = FaceBatches(prepared, TRAIN, 16, None, np.arange(1.0, 8.0))

    inputs, labels, weights = batches[0]

    np.testing.assert_array_equal(weights, labels.argmax(axis=1) + 1)
    assert (inputs["images"].shape, inputs["images"].dtype) == ((16, 32, 32, 1), np.float32)


def test_an_epoch_shows_every_training_face_once_in_a_new_order(prepared: FaceSet) -> None:
    batches = FaceBatches(prepared, TRAIN, 32, np.random.default_rng(0))
    first = batches.order.copy()

    batches.on_epoch_end()

    assert sorted(batches.order) == sorted(first) == list(range(len(prepared.rows(TRAIN))))
    assert batches.order.tolist() != first.tolist()


def test_a_cosine_warms_up_to_the_learning_rate_and_ends_at_zero() -> None:
    phase = PhaseSettings(
        name="x", trainable=("all",), epochs=4, learning_rate=0.1, schedule="cosine", warmup_epochs=1, patience=1
    )

    schedule: Any = learning_rate(phase, steps=10)

    rates = [float(schedule(step)) for step in (0, 5, 10, 25, 40)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.05, 0.0], abs=1e-6)


def test_calibration_lowers_the_negative_log_likelihood_on_validation(trained: Any, prepared: FaceSet) -> None:
    rows = prepared.rows(VALIDATION)

    calibrated, temperature, probabilities = calibrate_classifier(trained[0], prepared, batch_size=32)

    logits = predict(trained[0], prepared.images[rows], 32).astype(np.float64)
    probabilities = predict(calibrated, prepared.images[rows], 32)
    chosen = np.arange(len(rows)), prepared.labels[rows]
    before = -(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[chosen].mean()
    assert -np.log(probabilities[chosen]).mean() <= before + 1e-6
    assert math.isfinite(temperature)
