"""Calibration: how far confidence is from accuracy, and what brings them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from configs.training_settings import TrainingSettings
from vision.data.faces import VALIDATION, FaceSet
from vision.model.classifier import predict, with_temperature

Array = np.ndarray[Any, Any]
TEMPERATURES = (0.05, 20.0)
# what holds the classes of a calibration together, in faces' worth of log-likelihood: a standard deviation of 0.4 for
# the logarithm of a temperature and for an offset. 1 and 10 gave the same within 0.1 points on six networks
PULL = 3.0


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities: softmax(logits / temperatures + offsets), with (classes,) of each."""

    temperatures: Array
    offsets: Array

    @property
    def temperature(self) -> float:
        """The geometric mean of the temperatures; above 1 the model was over-confident."""
        return float(np.exp(np.log(self.temperatures).mean()))

    def of(self, class_names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the values by class, as JSON can hold them."""
        pairs = zip(class_names, self.temperatures.tolist(), self.offsets.tolist(), strict=True)
        return {name: {"temperature": temperature, "offset": offset} for name, temperature, offset in pairs}

    def probabilities(self, logits: Array) -> Array:
        """Return (n, classes) probabilities."""
        return np.asarray(softmax(logits / self.temperatures + self.offsets, axis=1))


def fit_temperature(logits: Array, labels: Array) -> Calibration:
    """Return the one temperature with the least negative log-likelihood (Guo et al. 2017).

    `logits` are (n, classes), `labels` (n,) integers.
    """

    def loss(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scores[np.arange(len(labels)), labels].mean())

    fitted = np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x)
    return Calibration(np.full(logits.shape[1], fitted), np.zeros(logits.shape[1]))


def fit_by_class(logits: Array, labels: Array) -> Calibration:
    """Return a temperature and an offset for each class (vector scaling, Guo et al. 2017).

    They have the least negative log-likelihood with a pull, worth PULL faces, towards one temperature and no offset. A
    class without a label keeps these.
    """
    classes = logits.shape[1]
    right = np.eye(classes)[labels]
    seen = np.tile(right.any(axis=0), 2)
    common = np.log(fit_temperature(logits, labels).temperatures[0])

    def loss(changes: Array) -> tuple[float, Array]:
        scales = np.exp(changes[:classes] - common)
        scores = log_softmax(logits * scales + changes[classes:], axis=1)
        surplus = np.exp(scores) - right
        slopes = np.concatenate([(surplus * logits).sum(axis=0) * scales, surplus.sum(axis=0)])
        pulled = PULL * np.square(changes).sum()
        return float(pulled - (scores * right).sum()), np.where(seen, slopes + 2 * PULL * changes, 0.0)

    found = minimize(loss, np.zeros(2 * classes), jac=True, method="L-BFGS-B").x
    return Calibration(np.exp(common - found[:classes]), found[classes:])


def calibrate_classifier(
    classifier: keras.Model, faces: FaceSet, training: TrainingSettings
) -> tuple[keras.Model, Calibration, np.ndarray]:
    """Fit what `training.calibration` asks for on the validation split.

    Return the model with it, which gives probabilities, its values, and the (n, classes) probabilities of that split.
    """
    rows = faces.rows(VALIDATION)
    logits = predict(classifier, faces.images[rows], training.batch_size)
    fit = fit_by_class if training.calibrates_by_class else fit_temperature
    found = fit(logits, faces.labels[rows])
    calibrated = with_temperature(classifier, found.temperatures, found.offsets)
    return calibrated, found, found.probabilities(logits)


def reliability_curve(probabilities: Array, labels: Array, bins: int) -> pd.DataFrame:
    """Return confidence, accuracy and count of each non-empty bin of equal width in confidence."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = pd.DataFrame({"bin": bin_of, "confidence": confidence, "accuracy": correct.astype(float)})
    grouped = rows.groupby("bin")
    return grouped.mean().assign(count=grouped.size())


def expected_calibration_error(probabilities: Array, labels: Array, bins: int) -> float:
    """Return the mean distance of confidence and accuracy over bins, weighted by count (Naeini et al. 2015)."""
    curve = reliability_curve(probabilities, labels, bins)
    gap = (curve["confidence"] - curve["accuracy"]).abs()
    return float((gap * curve["count"]).sum() / curve["count"].sum())
