import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from vision.training.callbacks import BestEpoch, EarlyStopping, MovingAverage, ReduceOnPlateau


def model_of_one_weight() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def after_epochs(callback: Any, values: list[float]) -> Any:
    """Return a callback that has seen epochs with these values of the metric."""
    callback.set_model(model_of_one_weight())
    callback.set_params({"epochs": 9})
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_accuracy": value})
    return callback


@pytest.mark.parametrize(
    "build",
    [
        lambda: EarlyStopping("val_accuracy", patience=3, mode="max"),
        lambda: ReduceOnPlateau("val_accuracy", patience=3, mode="max"),
    ],
)
def test_a_callback_given_a_state_acts_as_the_one_that_it_is_from(build: Callable[[], Any]) -> None:
    values = [0.5, 0.7, 0.6, 0.6]
    old, new = after_epochs(build(), values), after_epochs(build(), [])

    new.set_state(old.get_state())
    for callback in (old, new):
        callback.on_epoch_end(4, {"val_accuracy": 0.65})  # the third without progress

    acted = [(c.model.stop_training, float(c.model.optimizer.learning_rate)) for c in (old, new)]
    assert acted[0] == acted[1] != (False, pytest.approx(0.1))
    assert old.get_state() == new.get_state()


def test_a_moving_average_given_a_state_puts_the_weights_back_for_the_next_epoch() -> None:
    old, new = (
        after_epochs(MovingAverage(swap_on_epoch=True), [0.5]),
        after_epochs(MovingAverage(swap_on_epoch=True), []),
    )
    new.model.set_weights([np.array([[1.0]])])  # the average, as it was saved
    new.model.optimizer.variables[-1].assign([[2.0]])  # and the weight itself

    new.set_state(old.get_state())
    new.on_epoch_begin(1)

    assert new.model.get_weights()[0] == [[2.0]]


@pytest.mark.parametrize(
    ("left", "said"), [(10.0, "about 10 s left in this phase"), (600.0, "about 10 min left"), (0.0, "the last of this")]
)
def test_an_epochs_line_says_what_is_left_in_a_unit_that_fits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: float, said: str
) -> None:
    model = model_of_one_weight()
    best = BestEpoch(model, model, "val_accuracy", [2], tmp_path / "best.keras", lambda number, metrics: None)
    scores = dict.fromkeys(("loss", "accuracy", "val_loss", "val_accuracy", "val_macro_f1"), 0.5)

    with caplog.at_level(logging.INFO, "vision"):
        best.record({**scores, "seconds": 10.0}, left)

    assert said in caplog.text
