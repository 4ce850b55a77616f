"""Paired comparison: what two models answer on the same faces."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binomtest

from configs.settings import PromotionSettings
from vision.evaluation.metrics import f1_of_matrices

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Gain:
    """Challenger minus champion, with the paired bootstrap's interval."""

    metric: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """What the two differ in on `faces` faces; `mcnemar_p` is None where there was none to compare them on."""

    faces: int = 0
    gains: list[Gain] = field(default_factory=list)
    only_champion_right: int = 0
    only_challenger_right: int = 0
    mcnemar_p: float | None = None


def compare_answers(
    champion: Array, challenger: Array, labels: Array, classes: int, settings: PromotionSettings, seed: int
) -> PairedComparison:
    """Compare the (n,) predicted classes of two models on the same n faces with their (n,) labels."""
    if not len(labels):
        return PairedComparison()
    only_champion = int(((champion == labels) & (challenger != labels)).sum())
    only_challenger = int(((challenger == labels) & (champion != labels)).sum())
    return PairedComparison(
        faces=len(labels),
        gains=paired_bootstrap(champion, challenger, labels, classes, settings, seed),
        only_champion_right=only_champion,
        only_challenger_right=only_challenger,
        mcnemar_p=mcnemar(only_champion, only_challenger),
    )


def paired_bootstrap(
    champion: Array, challenger: Array, labels: Array, classes: int, settings: PromotionSettings, seed: int
) -> list[Gain]:
    """Return the gains in accuracy and macro-F1 of predicted classes (n,) over the champion's (n,).

    Faces are resampled together with both predictions (Efron & Tibshirani 1993); intervals are percentiles.
    """
    random = np.random.default_rng(seed)
    shape = (classes, classes, classes)
    counts = np.bincount(np.ravel_multi_index((labels, champion, challenger), shape), minlength=classes**3)
    # resampling n faces with replacement is one multinomial draw of the joint counts
    draws = random.multinomial(len(labels), counts / len(labels), size=settings.bootstrap_samples)
    both = np.concatenate([counts[None], draws]).reshape(-1, *shape)
    old, new = both.sum(axis=3), both.sum(axis=2)
    present = np.unique(labels)
    found = {
        "accuracy": (np.einsum("bii->b", new) - np.einsum("bii->b", old)) / len(labels),
        "macro_f1": (f1_of_matrices(new) - f1_of_matrices(old))[:, present].mean(axis=1),
    }
    tail = (1 - settings.confidence_level) / 2
    return [
        Gain(metric, float(v[0]), *(float(q) for q in np.quantile(v[1:], [tail, 1 - tail])))
        for metric, v in found.items()
    ]


def mcnemar(only_champion: int, only_challenger: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (McNemar 1947) from the counts of discordant faces."""
    discordant = only_champion + only_challenger
    return float(binomtest(only_challenger, discordant).pvalue) if discordant else 1.0
