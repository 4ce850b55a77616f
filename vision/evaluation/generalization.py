"""Generalisation gap: how much better a classifier answers faces that it learned from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vision.data.faces import TRAIN, VALIDATION, FaceSet

Array = np.ndarray[Any, Any]
MOST_FACES = 3000  # training faces: their accuracy has a standard error below one point


@dataclass(frozen=True)
class Generalization:
    """Accuracy on `training_faces`, as they are and with the validation split's class shares, and on that split."""

    training_faces: int
    training_accuracy: float
    validation_accuracy: float

    @property
    def gap(self) -> float:
        return self.training_accuracy - self.validation_accuracy


def measure_generalization(
    answer: Callable[[Array], Array], faces: FaceSet, validation: Array, seed: int
) -> Generalization:
    """Measure the gap without augmentation; `validation` are (n, classes) probabilities of the validation split.

    `answer` returns (n, classes) probabilities of (n, side, side) uint8 faces.
    """
    labels = faces.labels[faces.rows(VALIDATION)]
    rows = draw_like(faces, labels, seed)
    correct = answer(faces.images[rows]).argmax(axis=1) == faces.labels[rows]
    return Generalization(len(rows), float(correct.mean()), float((validation.argmax(axis=1) == labels).mean()))


def draw_like(faces: FaceSet, labels: Array, seed: int) -> Array:
    """Return the ascending positions of at most MOST_FACES training faces with the class shares of `labels`.

    As many are drawn as no class has to be drawn twice for; a class without a training face is left out.
    """
    random = np.random.default_rng(seed)
    rows = faces.rows(TRAIN)
    wanted = np.bincount(labels, minlength=len(faces.class_names)) / len(labels)
    there = np.bincount(faces.labels[rows], minlength=len(faces.class_names))
    both = (wanted > 0) & (there > 0)
    total = min(MOST_FACES, (there[both] / wanted[both]).min())
    counts = np.where(both, np.maximum(1, np.floor(total * wanted + 1e-9)), 0).astype(int)
    chosen = [random.permutation(rows[faces.labels[rows] == code])[:count] for code, count in enumerate(counts)]
    return np.sort(np.concatenate(chosen))
