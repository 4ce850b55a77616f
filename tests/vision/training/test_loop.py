import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as determinism

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import VALIDATION, FaceSet
from vision.evaluation.calibration import calibrate_classifier
from vision.model.classifier import build_classifier, predict
from vision.training.history import TrainingHistory, TrainingStoppedError
from vision.training.loop import train_classifier
from vision.training.losses import build_loss
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

pytestmark = [
    pytest.mark.usefixtures("with_toy_backbone", "without_curves"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]

EVEN = dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 1.0)


def train(
    faces: FaceSet, settings: Settings, checkpoint: Path, hook: Any = lambda epoch, metrics: None, **changes: Any
) -> tuple[keras.Model, TrainingHistory]:
    recipe = Recipe(settings.classifier, settings.augmentation, settings.training.model_copy(update=changes), 3)
    paths = TrainingPaths(checkpoint, checkpoint.with_name("features"))
    return train_classifier(TrainingData(faces, EVEN), recipe, paths, hook)


def curve(history: TrainingHistory) -> list[dict[str, float]]:
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history.epochs]


@pytest.fixture(scope="module")
def trained(
    with_toy_backbone: None, few_faces: FaceSet, toy_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "best.keras"
    return (*train(few_faces, toy_settings, checkpoint), checkpoint)


def test_two_runs_with_one_seed_give_the_same_curve(
    trained: Any, few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    _, history = train(few_faces, toy_settings, tmp_path / "best.keras")

    assert curve(history) == curve(trained[1])


def test_the_returned_model_and_the_checkpoint_are_the_best_epoch(trained: Any, few_faces: FaceSet) -> None:
    model, history, checkpoint = trained
    rows = few_faces.rows(VALIDATION)

    for candidate in (model, keras.saving.load_model(checkpoint, safe_mode=True)):
        accuracy = (predict(candidate, few_faces.images[rows], 32).argmax(axis=1) == few_faces.labels[rows]).mean()

        assert accuracy == pytest.approx(history.best["val_accuracy"])
    assert history.best["val_accuracy"] == max(epoch["val_accuracy"] for epoch in history.epochs)


@pytest.mark.usefixtures("eagerly")
def test_ctrl_c_keeps_the_best_checkpoint_and_names_it(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    def interrupt(epoch: int, metrics: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(TrainingStoppedError, match=r"after 1 of 2 epochs; the best epoch so far \(1, .*best\.keras"):
        train(few_faces, toy_settings, tmp_path / "best.keras", interrupt)

    keras.saving.load_model(tmp_path / "best.keras", safe_mode=True)


@pytest.mark.usefixtures("eagerly")
def test_the_log_says_how_long_a_training_takes(
    prepared: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vision"):
        train(prepared, all_at_once(toy_settings), tmp_path / "b.keras")

    assert re.search(r"this training takes about .* \(1 epochs of 4 batches, measured on 3 batches\)", caplog.text)


@pytest.mark.usefixtures("eagerly")
def test_a_diverging_loss_names_the_learning_rate(few_faces: FaceSet, toy_settings: Settings, tmp_path: Path) -> None:
    wild = toy_settings.training.phases[0].model_copy(update={"learning_rate": 10.0, "epochs": 6, "patience": 6})
    everything = wild.model_copy(update={"trainable": ("all",)})

    with pytest.raises(UserError, match=r"training diverged in epoch .*learning_rate"):
        train(few_faces, toy_settings, tmp_path / "b.keras", phases=(everything,), optimizer="sgd", weight_decay=0.0)


@pytest.mark.usefixtures("eagerly")
def test_a_plateau_lowers_the_learning_rate_and_then_ends_the_phase(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    # with a learning rate near 0, and no statistics that follow the batches, nothing improves after the first epoch
    head = toy_settings.classifier.model_copy(update={"head_batch_norm": False})
    settings = toy_settings.model_copy(update={"classifier": head})
    update = {"learning_rate": 1e-9, "schedule": "plateau", "epochs": 9, "patience": 2}
    still = toy_settings.training.phases[0].model_copy(update=update)

    _, history = train(few_faces, settings, tmp_path / "b.keras", phases=(still,), plateau_patience=1)

    assert len(history.epochs) == 3
    assert [epoch["learning_rate"] for epoch in history.epochs] == pytest.approx([1e-9, 1e-9, 5e-10])


def test_calibration_lowers_the_negative_log_likelihood_on_validation(
    trained: Any, few_faces: FaceSet, toy_settings: Settings
) -> None:
    rows = few_faces.rows(VALIDATION)

    calibrated, calibration, answers = calibrate_classifier(trained[0], few_faces, toy_settings.training)

    logits = predict(trained[0], few_faces.images[rows], 32).astype(np.float64)
    probabilities = predict(calibrated, few_faces.images[rows], 32)
    chosen = np.arange(len(rows)), few_faces.labels[rows]
    before = -(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[chosen].mean()
    assert -np.log(probabilities[chosen]).mean() <= before + 1e-6
    assert math.isfinite(calibration.temperature)
    np.testing.assert_allclose(answers, probabilities, rtol=1e-4)


def test_a_phase_on_kept_features_scores_as_the_whole_classifier_does(trained: Any, few_faces: FaceSet) -> None:
    model, history, checkpoint = trained
    rows = few_faces.rows(VALIDATION)

    logits = predict(model, few_faces.images[rows], 32)

    kept = checkpoint.with_name("features")
    assert len(list(kept.iterdir())) == 2  # of the head's phase and of the one that trains block 2
    accuracy = (logits.argmax(axis=1) == few_faces.labels[rows]).mean()
    assert accuracy == pytest.approx(history.best["val_accuracy"])


def all_at_once(settings: Settings, **changes: Any) -> Settings:
    """Return settings that train the whole network in one short phase."""
    phase = settings.training.phases[0].model_copy(update={"trainable": ("all",), "epochs": 1})
    training = settings.training.model_copy(update={"phases": (phase,), **changes})
    return settings.model_copy(update={"training": training})


@pytest.mark.usefixtures("eagerly")
def test_the_moving_average_of_the_weights_is_what_is_kept(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    plain = all_at_once(toy_settings)
    averaged = all_at_once(toy_settings, ema_momentum=0.9)

    kept = {
        name: train(few_faces, settings, tmp_path / name / "b.keras")[0].get_layer("block1_conv1").get_weights()[0]
        for name, settings in (("plain", plain), ("averaged", averaged), ("again", averaged))
    }

    assert np.abs(kept["plain"] - kept["averaged"]).max() > 1e-5
    np.testing.assert_array_equal(kept["averaged"], kept["again"])


@pytest.mark.usefixtures("eagerly")
def test_without_phases_the_given_weights_are_scored_and_kept(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    settings = all_at_once(toy_settings)
    first, history = train(few_faces, settings, tmp_path / "first" / "b.keras")
    weights = settings.classifier.model_copy(update={"weights": str(tmp_path / "first" / "b.keras")})

    again, scored = train(
        few_faces, settings.model_copy(update={"classifier": weights}), tmp_path / "again" / "b.keras", phases=()
    )

    assert scored.phases == ["as given"]
    assert scored.best["val_accuracy"] == pytest.approx(history.best["val_accuracy"])
    for kept, given in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, given)


@pytest.mark.usefixtures("eagerly")
def test_without_phases_a_classifier_is_scored_that_the_settings_do_not_describe(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    other = toy_settings.classifier.model_copy(update={"dense_units": (5,)})
    given = build_classifier(other, side=32, classes=7)
    given.save(tmp_path / "given.keras")
    weights = toy_settings.classifier.model_copy(update={"weights": str(tmp_path / "given.keras")})
    settings = toy_settings.model_copy(update={"classifier": weights})

    kept, _ = train(few_faces, settings, tmp_path / "b.keras", phases=())

    rows = few_faces.rows(VALIDATION)
    expected = predict(given, few_faces.images[rows], 32)
    np.testing.assert_allclose(predict(kept, few_faces.images[rows], 32), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_without_phases_a_classifier_for_other_faces_is_refused(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    build_classifier(toy_settings.classifier, side=32, classes=3).save(tmp_path / "three.keras")
    weights = toy_settings.classifier.model_copy(update={"weights": str(tmp_path / "three.keras")})

    with pytest.raises(UserError, match=r"gives 3 classes; these faces have 32 pixels .* and 7 classes"):
        train(few_faces, toy_settings.model_copy(update={"classifier": weights}), tmp_path / "b.keras", phases=())


def test_a_later_phase_that_cannot_be_trained_is_refused_before_the_first_epoch(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    first, second = toy_settings.training.phases
    phases = first, second.model_copy(update={"trainable": ("block5",)})
    epochs: list[int] = []

    with pytest.raises(UserError, match=r"training\.phases: trainable block5 is not a part of this backbone"):
        train(few_faces, toy_settings, tmp_path / "best.keras", lambda epoch, _: epochs.append(epoch), phases=phases)

    assert epochs == []


@pytest.fixture
def without_repeatable_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loss need an operation that, as some do on a GPU, cannot be computed repeatably."""

    def refuse(value: Any) -> Any:
        if determinism.is_op_determinism_enabled():
            raise NotImplementedError("a deterministic implementation is not currently available")  # UnimplementedError
        return value

    def build(*given: Any) -> Any:
        loss = build_loss(*given)

        def stand_in(targets: Any, logits: Any, sample_weight: Any) -> Any:
            value = loss(targets, logits, sample_weight)
            passed = tf.numpy_function(refuse, [value], value.dtype)
            return value + 0.0 * tf.reshape(passed, tf.shape(value))

        return stand_in

    monkeypatch.setattr("vision.training.learner.build_loss", build)


@pytest.mark.usefixtures("without_repeatable_kernel")
def test_an_operation_without_a_repeatable_kernel_costs_the_repeatability_and_not_the_training(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phases = toy_settings.training.phases[:1]

    _, history = train(few_faces, toy_settings, tmp_path / "best.keras", phases=phases)

    assert len(history.epochs) == 1
    assert not history.repeatable
    assert "no repeatable kernel on this device" in caplog.text


@pytest.mark.usefixtures("without_repeatable_kernel")
def test_a_training_that_need_not_be_repeatable_is_not_asked_to_be(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phases = toy_settings.training.phases[:1]

    _, history = train(few_faces, toy_settings, tmp_path / "best.keras", phases=phases, deterministic=False)

    assert not history.repeatable
    assert "repeatable kernel" not in caplog.text


def test_operations_are_repeatable_by_default(trained: Any) -> None:
    assert trained[1].repeatable
