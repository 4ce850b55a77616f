"""Class weights: how much a face of each class counts, by the prepared faces that a training learns from."""

from typing import Any

import numpy as np

from configs.data_settings import BalanceSettings
from configs.errors import UserError
from configs.training_settings import TrainingSettings
from vision.data.balance import SCHEMES
from vision.data.faces import TRAIN, FaceSet
from vision.training.doubts import weigh_doubtful


def count_classes(faces: FaceSet, doubtful_weight: float) -> np.ndarray[Any, Any]:
    """Return the (classes,) float64 numbers of training faces, each doubtful one counted as `doubtful_weight`.

    So weighting classes and weighting doubtful faces down go together: what a class has in all stays as balanced.
    """
    labels = faces.labels[faces.rows(TRAIN)]
    return np.bincount(labels, weigh_doubtful(faces, doubtful_weight), len(faces.class_names)).astype(np.float64)


def weigh_classes(faces: FaceSet, training: TrainingSettings, balance: BalanceSettings) -> dict[str, float]:
    """Return the weight of each class by name, by the scheme that `training.class_weights` names.

    Raises UserError where doubts leave nothing of a class.
    """
    counts = count_classes(faces, training.doubtful_weight)
    if missing := [name for name, count in zip(faces.class_names, counts, strict=True) if count == 0]:
        raise UserError(
            f"training.doubtful_weight {training.doubtful_weight:g} leaves no training face of {', '.join(missing)}; "
            "give more"
        )
    return dict(zip(faces.class_names, SCHEMES[training.class_weights](counts, balance).tolist(), strict=True))
