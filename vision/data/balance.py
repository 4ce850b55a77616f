"""Class balance: counts, measures of imbalance, class weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import entropy

from configs.data_settings import BalanceSettings
from configs.errors import InvalidDataError
from vision.data import plots
from vision.data.faces import SPLITS, TRAIN, UNASSIGNED, FaceSet
from vision.reporting.reports import Report

SAMPLES_PER_CLASS = 8  # in the figure


@dataclass(frozen=True, kw_only=True)
class BalanceReport(Report):
    """Counts by split and class, and the imbalance and class weights of training.

    `weights` has, for each key of SCHEMES, the weight of each class by name.
    """

    counts: dict[str, dict[str, int]]
    imbalance_ratio: float
    normalized_entropy: float
    weights: dict[str, dict[str, float]]

    def numbers(self) -> dict[str, float]:
        return {
            "balance/imbalance_ratio": self.imbalance_ratio,
            "balance/normalized_entropy": self.normalized_entropy,
        }


def analyze_classes(faces: FaceSet, settings: BalanceSettings, seed: int) -> BalanceReport:
    """Count decodable faces of known classes in each split; measure the imbalance of training and unassigned faces.

    Raises InvalidDataError where a class has no training face.
    """
    usable = faces.table[["split", "label"]][faces.decodable & (faces.labels >= 0)]
    counted = pd.crosstab(usable["split"], usable["label"]).reindex(columns=list(faces.class_names), fill_value=0)
    learnt = counted.reindex([TRAIN, UNASSIGNED]).fillna(0).sum()
    missing = [str(name) for name in faces.class_names if learnt[name] == 0]
    if missing:
        raise InvalidDataError(
            f"{faces.name} has no training face of: {', '.join(missing)}; add images of it, or take the class out of "
            "dataset.class_names"
        )
    counts = learnt.to_numpy(dtype=np.int64)
    order = [split for split in (*SPLITS, UNASSIGNED) if split in counted.index]
    named = {
        scheme: dict(zip(faces.class_names, weigh(counts, settings).tolist(), strict=True))
        for scheme, weigh in SCHEMES.items()
    }
    return BalanceReport(
        counts={
            str(split): {str(name): int(count) for name, count in row.items()}
            for split, row in counted.loc[order].iterrows()
        },
        imbalance_ratio=float(counts.max() / counts.min()),
        normalized_entropy=float(entropy(counts) / np.log(len(counts))),
        weights=named,
        figures={
            "class_counts.png": plots.class_counts(counted.loc[order]),
            "class_weights.png": plots.class_weights(named),
            "sample_faces.png": plots.sample_faces(faces, SAMPLES_PER_CLASS, seed),
        },
    )


def inverse_frequency_weights(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Weight classes by 1 / count, scaled so that the mean weight over all faces is 1."""
    return np.asarray(counts.sum() / (len(counts) * counts), dtype=np.float64)


def effective_number_weights(counts: np.ndarray[Any, Any], beta: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Weight classes by 1 / effective number of samples (Cui et al. 2019), scaled as inverse_frequency_weights.

    The effective number of n samples is (1 - beta^n) / (1 - beta): beta 0 gives all
    classes the same weight, beta close to 1 gives inverse frequency.
    """
    weights = (1 - beta) / (1 - np.power(beta, counts.astype(np.float64)))
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), dtype=np.float64)


# The name that `training.class_weights` uses, and what computes the weights
SCHEMES: dict[str, Callable[[np.ndarray[Any, Any], BalanceSettings], np.ndarray[Any, Any]]] = {
    "inverse_frequency": lambda counts, settings: inverse_frequency_weights(counts),
    "effective_number": lambda counts, settings: effective_number_weights(counts, settings.effective_number_beta),
}
