"""Uncertainty: what is gained where uncertain faces are left out, and sets of emotions that hold the right one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
CONFORMAL_LEVEL = 0.9  # share of faces whose set shall hold the right emotion


@dataclass(frozen=True)
class Covered:
    """The surest part of the faces: its share, its accuracy, and the lowest confidence in it."""

    coverage: float
    accuracy: float
    confidence: float


@dataclass(frozen=True)
class ConformalScore:
    """How many of the sets hold the right emotion, and how many emotions one has on average."""

    coverage: float
    mean_size: float


@dataclass(frozen=True)
class ConformalSets:
    """Sets of the emotions with at least the probability `threshold`, scored on each subset of the test faces.

    The threshold was fitted on `validation_faces` so that `level` of the sets hold the right emotion.
    """

    level: float
    validation_faces: int
    threshold: float
    scores: dict[str, ConformalScore]


@dataclass(frozen=True)
class Uncertainty:
    """Coverage and accuracy of each subset of the test faces; `conformal` is None without a validation face."""

    covered: dict[str, list[Covered]]
    conformal: ConformalSets | None

    def numbers(self) -> dict[str, float]:
        """Return the metrics that go to MLflow, by name."""
        flat = {
            f"{name}_coverage/accuracy_at_{row.coverage * 100:.0f}": row.accuracy
            for name, rows in self.covered.items()
            for row in rows
        }
        if self.conformal:
            flat["conformal_threshold"] = self.conformal.threshold
            for name, score in self.conformal.scores.items():
                flat |= {f"{name}/conformal_coverage": score.coverage, f"{name}/conformal_set_size": score.mean_size}
        return flat


def measure_uncertainty(
    test: tuple[Array, Array], subsets: Mapping[str, Array], validation: tuple[Array, Array] | None
) -> Uncertainty:
    """Measure both on the subsets of the test faces, each given as (n,) bool by name.

    `test` and `validation` are (n, classes) probabilities with (n,) labels.
    """
    probabilities, labels = test
    parts = {name: (probabilities[chosen], labels[chosen]) for name, chosen in subsets.items()}
    covered = {name: cover(*part) for name, part in parts.items()}
    if validation is None:
        return Uncertainty(covered, None)
    threshold = fit_threshold(*validation, CONFORMAL_LEVEL)
    scores = {name: score_sets(*part, threshold) for name, part in parts.items()}
    return Uncertainty(covered, ConformalSets(CONFORMAL_LEVEL, len(validation[1]), threshold, scores))


def accuracy_by_coverage(probabilities: Array, labels: Array) -> Array:
    """Return (n,) accuracies: the k-th is that of the k faces of which the model is surest."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    correct = (probabilities.argmax(axis=1) == labels)[order]
    return np.asarray(correct.cumsum() / np.arange(1, len(labels) + 1))


def cover(probabilities: Array, labels: Array) -> list[Covered]:
    """Return what is left of the faces, and how good the answers are, at each of COVERAGES."""
    accuracies = accuracy_by_coverage(probabilities, labels)
    confidences = np.sort(probabilities.max(axis=1))[::-1]
    kept = [max(1, round(coverage * len(labels))) for coverage in COVERAGES]
    return [
        Covered(coverage, float(accuracies[count - 1]), float(confidences[count - 1]))
        for coverage, count in zip(COVERAGES, kept, strict=True)
    ]


def fit_threshold(probabilities: Array, labels: Array, level: float) -> float:
    """Return the lowest probability of an emotion in a set (Angelopoulos & Bates 2021, section 1).

    For faces drawn like these, at least `level` of the sets then hold the right emotion. Too few faces give 0: every
    set holds every emotion.
    """
    rank = math.ceil((len(labels) + 1) * level)
    if rank > len(labels):
        return 0.0
    wrongness = np.sort(1.0 - probabilities[np.arange(len(labels)), labels].astype(np.float64))
    return float(1.0 - wrongness[rank - 1])


def score_sets(probabilities: Array, labels: Array, threshold: float) -> ConformalScore:
    """Score the sets of all emotions with at least that probability; a set may be empty."""
    sets = probabilities.astype(np.float64) >= threshold
    return ConformalScore(float(sets[np.arange(len(labels)), labels].mean()), float(sets.sum(axis=1).mean()))
