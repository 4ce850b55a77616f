"""Paired bootstrap: the interval of the difference between two sets of answers on the same faces."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from configs.lifecycle_settings import PromotionSettings
from configs.training_settings import EvaluationSettings
from vision.evaluation.metrics import f1_of_matrices

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Gain:
    """New answers minus old answers, with the paired bootstrap's interval."""

    metric: str
    gain: float
    low: float
    high: float


def paired_bootstrap(
    old: Array, new: Array, labels: Array, classes: int, settings: EvaluationSettings | PromotionSettings, seed: int
) -> list[Gain]:
    """Return the gains in accuracy and macro-F1 of the (n,) new predicted classes over the (n,) old ones.

    Faces are resampled together with both predictions (Efron & Tibshirani 1993); intervals are percentiles.
    """
    random = np.random.default_rng(seed)
    shape = (classes, classes, classes)
    counts = np.bincount(np.ravel_multi_index((labels, old, new), shape), minlength=classes**3)
    # resampling n faces with replacement is one multinomial draw of the joint counts
    draws = random.multinomial(len(labels), counts / len(labels), size=settings.bootstrap_samples)
    both = np.concatenate([counts[None], draws]).reshape(-1, *shape)
    before, after = both.sum(axis=3), both.sum(axis=2)
    present = np.unique(labels)
    found = {
        "accuracy": (np.einsum("bii->b", after) - np.einsum("bii->b", before)) / len(labels),
        "macro_f1": (f1_of_matrices(after) - f1_of_matrices(before))[:, present].mean(axis=1),
    }
    tail = (1 - settings.confidence_level) / 2
    return [
        Gain(metric, float(v[0]), *(float(q) for q in np.quantile(v[1:], [tail, 1 - tail])))
        for metric, v in found.items()
    ]
