"""Metrics of predicted probabilities against labels, with bootstrap intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from configs.training_settings import EvaluationSettings
from vision.evaluation.calibration import expected_calibration_error

Array = np.ndarray[Any, Any]


def score_predictions(probabilities: Array, labels: Array, settings: EvaluationSettings, seed: int) -> dict[str, float]:
    """Score (n, classes) probabilities against (n,) integer labels.

    Macro averages are over the classes that occur in `labels`. Names that end in _low and _high are the
    bootstrap interval of the metric before them.
    """
    classes = np.arange(probabilities.shape[1])
    present = np.unique(labels)
    predicted = probabilities.argmax(axis=1)
    exact = probabilities.astype(np.float64)
    intervals = bootstrap_intervals(predicted, labels, len(classes), settings, seed)
    recall = precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)[1]
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "balanced_accuracy": float(recall.mean()),
        "worst_class_recall": float(recall.min()),
        "top2_accuracy": float(top_k_accuracy_score(labels, probabilities, k=2, labels=classes))
        if len(classes) > 2
        else 1.0,
        "negative_log_likelihood": float(log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=classes)),
        "expected_calibration_error": expected_calibration_error(probabilities, labels, settings.calibration_bins),
        **intervals,
    }


def bootstrap_intervals(
    predicted: Array, labels: Array, classes: int, settings: EvaluationSettings, seed: int
) -> dict[str, float]:
    """Return percentile bootstrap intervals of accuracy and macro-F1 (Efron & Tibshirani 1993)."""
    random = np.random.default_rng(seed)
    pair = labels * classes + predicted
    counts = np.bincount(pair, minlength=classes * classes)
    # resampling n faces with replacement is one multinomial draw of the confusion matrix
    draws = random.multinomial(len(labels), counts / len(labels), size=settings.bootstrap_samples)
    matrices = draws.reshape(-1, classes, classes)
    present = np.unique(labels)
    accuracy = np.einsum("bii->b", matrices) / len(labels)
    samples = {"accuracy": accuracy, "macro_f1": f1_of_matrices(matrices)[:, present].mean(axis=1)}
    tail = (1 - settings.confidence_level) / 2
    ends = {"low": tail, "high": 1 - tail}
    return {f"{name}_{end}": float(np.quantile(v, q)) for name, v in samples.items() for end, q in ends.items()}


def f1_of_matrices(matrices: Array) -> Array:
    """Return (n, classes) F1 scores for (n, classes, classes) confusion matrices; 0 for a class that never occurs."""
    hits = np.einsum("bii->bi", matrices)
    return np.asarray(2 * hits / np.maximum(matrices.sum(axis=2) + matrices.sum(axis=1), 1))


def class_table(probabilities: Array, labels: Array, class_names: Sequence[str]) -> pd.DataFrame:
    """Return precision, recall, f1 and count of each class, indexed by its name."""
    scores = precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=np.arange(len(class_names)), zero_division=0
    )
    named = dict(zip(("precision", "recall", "f1", "count"), scores, strict=True))
    return pd.DataFrame(named, index=pd.Index(class_names, name="class"))


def confusion(probabilities: Array, labels: Array) -> Array:
    """Return the (classes, classes) counts; rows are true labels, columns predictions."""
    classes = np.arange(probabilities.shape[1])
    return np.asarray(confusion_matrix(labels, probabilities.argmax(axis=1), labels=classes))
