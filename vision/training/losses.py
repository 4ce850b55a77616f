"""Losses: what training minimises, for balanced and unbalanced classes, alone or with a teacher."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from configs.training_settings import DistillationSettings, TrainingSettings


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


class TargetLoss(keras.losses.Loss):  # type: ignore[misc]
    """A loss on the labels; where there is a teacher, mixed with the cross-entropy against it (Hinton et al. 2015).

    `y_true` is {"labels": (n, classes)}, in training also {"teacher": (n, classes)}: probabilities at the
    distillation's temperature. `y_pred` is (n, classes) logits.
    """

    def __init__(self, labels: keras.losses.Loss, distillation: DistillationSettings) -> None:
        super().__init__(name="target_loss")
        self.labels, self.weight, self.temperature = labels, distillation.weight, distillation.temperature

    def call(self, y_true: Mapping[str, Any], y_pred: Any) -> Any:
        hard = self.labels.call(y_true["labels"], y_pred)
        if "teacher" not in y_true:
            return hard
        soft = keras.losses.categorical_crossentropy(y_true["teacher"], y_pred / self.temperature, from_logits=True)
        # the square keeps the teacher's gradients as large as the labels', whatever the temperature
        return (1 - self.weight) * hard + self.weight * self.temperature**2 * soft


def build_loss(settings: TrainingSettings, counts: np.ndarray[Any, Any]) -> TargetLoss:
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
    return TargetLoss(loss, settings.distillation)
