"""Optimizers and how their learning rate changes during a phase."""

from collections.abc import Callable
from functools import partial

import keras

from configs.settings import PhaseSettings, TrainingSettings

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


def learning_rate(phase: PhaseSettings, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the phase's learning rate: a number, or a cosine to 0 (Loshchilov & Hutter 2017), after warm-up if any.

    `steps` is the number of batches an epoch.
    """
    warmup = round(phase.warmup_epochs * steps)
    if phase.schedule != "cosine" and not warmup:
        return phase.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        phase.learning_rate if not warmup else 0.0,
        max(1, phase.epochs * steps - warmup),
        warmup_target=phase.learning_rate if warmup else None,
        alpha=0.0 if phase.schedule == "cosine" else 1.0,  # the share that is left at the end
        warmup_steps=warmup,
    )
