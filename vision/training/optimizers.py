"""Optimizers and how their learning rate changes during a phase."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import keras

from configs.training_settings import PhaseSettings, TrainingSettings

# The name that `training.optimizer` uses, and what builds it
OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "adamw": keras.optimizers.AdamW,
    "sgd": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
}


def build_optimizer(settings: TrainingSettings, phase: PhaseSettings, steps: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of a phase whose epochs have `steps` batches."""
    return OPTIMIZERS[settings.optimizer](
        learning_rate(phase, steps),
        weight_decay=settings.weight_decay or None,
        use_ema=settings.ema_momentum > 0,
        ema_momentum=settings.ema_momentum or 0.99,
    )


class RiseAndFall(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Rises evenly to `rate` in `rise` batches, then falls as half a cosine to 0 in `fall` batches; 0 stays there.

    The cosine is that of Loshchilov & Hutter (2017). Keras has CosineDecay, whose branches TensorFlow traces anew for
    every weight that decays, which took a third of the time until the first batch of a VGG-19.
    """

    def __init__(self, rate: float, rise: int, fall: int) -> None:
        super().__init__()
        self.rate, self.rise, self.fall = rate, rise, fall

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        factor = keras.ops.minimum(step / self.rise, 1.0) if self.rise else 1.0
        if self.fall:
            done = keras.ops.clip((step - self.rise) / self.fall, 0.0, 1.0)
            factor = factor * 0.5 * (1.0 + keras.ops.cos(math.pi * done))
        return self.rate * factor

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "rise": self.rise, "fall": self.fall}


def learning_rate(phase: PhaseSettings, steps: int) -> float | RiseAndFall:
    """Return the phase's learning rate: a number, or a schedule; an epoch has `steps` batches."""
    rise = round(phase.warmup_epochs * steps)
    cosine = phase.schedule == "cosine"
    if not cosine and not rise:
        return phase.learning_rate
    return RiseAndFall(phase.learning_rate, rise, max(1, phase.epochs * steps - rise) if cosine else 0)
