"""Losses: what training minimises, for balanced and unbalanced classes, alone or with a teacher."""

from typing import Any

import keras
import numpy as np

from configs.settings import TrainingSettings


class LogitAdjusted(keras.losses.Loss):  # type: ignore[misc]
    """Cross-entropy of logits plus `amount` times the logarithm of each class's share of training.

    With amount 1 it is the balanced softmax (Ren et al. 2020; Menon et al. 2021); predictions use the plain logits.
    `shares` is (classes,), `label_smoothing` as in Keras.
    """

    def __init__(self, shares: np.ndarray[Any, Any], amount: float, label_smoothing: float) -> None:
        super().__init__(name="balanced_softmax")
        self.adjustment = (amount * np.log(shares)).astype(np.float32)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.losses.categorical_crossentropy(
            y_true, y_pred + self.adjustment, from_logits=True, label_smoothing=self.label_smoothing
        )


class Distilled(keras.losses.Loss):  # type: ignore[misc]
    """A loss on the labels mixed with the cross-entropy against a teacher at a temperature (Hinton et al. 2015).

    `y_true` is (n, 2 * classes): the labels beside the teacher's probabilities at `temperature`. Where it is
    (n, classes), as in validation, the loss on the labels stands alone.
    """

    def __init__(self, labels: keras.losses.Loss, classes: int, weight: float, temperature: float) -> None:
        super().__init__(name="distilled")
        self.labels, self.classes, self.weight, self.temperature = labels, classes, weight, temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        hard = self.labels.call(y_true[:, : self.classes], y_pred)
        if y_true.shape[-1] == self.classes:
            return hard
        soft = keras.losses.categorical_crossentropy(
            y_true[:, self.classes :], y_pred / self.temperature, from_logits=True
        )
        # the square keeps the teacher's gradients as large as the labels', whatever the temperature
        return (1 - self.weight) * hard + self.weight * self.temperature**2 * soft


def build_loss(settings: TrainingSettings, counts: np.ndarray[Any, Any], distilled: bool) -> keras.losses.Loss:
    """Return the loss that the settings name; `counts` are the (classes,) training faces of each class."""
    smoothing = settings.label_smoothing
    if settings.imbalance == "focal":  # Lin et al. 2017
        loss = keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=settings.focal_gamma, from_logits=True, label_smoothing=smoothing
        )
    elif settings.imbalance == "balanced_softmax":
        loss = LogitAdjusted(counts / counts.sum(), settings.logit_adjustment, smoothing)
    else:
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    if not distilled:
        return loss
    return Distilled(loss, len(counts), settings.distillation.weight, settings.distillation.temperature)
