"""Paired comparison: what two models answer on the same faces."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binomtest

from configs.lifecycle_settings import PromotionSettings
from vision.evaluation.paired_bootstrap import Gain, paired_bootstrap

Array = np.ndarray[Any, Any]


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


def mcnemar(only_champion: int, only_challenger: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (McNemar 1947) from the counts of discordant faces."""
    discordant = only_champion + only_challenger
    return float(binomtest(only_challenger, discordant).pvalue) if discordant else 1.0
