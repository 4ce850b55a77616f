"""Calibration: how far confidence is from accuracy, and the temperature that brings them together."""

from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from vision.data.faces import VALIDATION, FaceSet
from vision.model.classifier import predict, with_temperature

Array = np.ndarray[Any, Any]
TEMPERATURES = (0.05, 20.0)


def fit_temperature(logits: Array, labels: Array) -> float:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017).

    `logits` are (n, classes), `labels` (n,) integers. Above 1 the model was over-confident.
    """

    def loss(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-scores[np.arange(len(labels)), labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def calibrate_classifier(
    classifier: keras.Model, faces: FaceSet, batch_size: int
) -> tuple[keras.Model, float, np.ndarray]:
    """Fit a temperature on the validation split.

    Return the model with it, which gives probabilities, its value, and the (n, classes) probabilities of that split.
    """
    rows = faces.rows(VALIDATION)
    logits = predict(classifier, faces.images[rows], batch_size)
    temperature = fit_temperature(logits, faces.labels[rows])
    return with_temperature(classifier, temperature), temperature, softmax(logits / temperature, axis=1)


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
