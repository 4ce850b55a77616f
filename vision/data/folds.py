"""Folds: training faces in parts of the same class shares, with all copies of a face in one part."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from configs.errors import InvalidDataError
from vision.data.faces import TRAIN, FaceSet


def assign_folds(faces: FaceSet, folds: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the fold, from 0, of each training face in the order of its rows, stratified by class.

    Faces with the same perceptual hash, as all copies of a face have, share a fold. The order of the rows does not
    matter. Raises InvalidDataError where a class has fewer different faces than there are folds.
    """
    table = faces.table.iloc[faces.rows(TRAIN)][["source", "label", "perceptual_hash"]]
    different = table.sort_values("source", kind="stable").drop_duplicates("perceptual_hash")
    counts = different["label"].value_counts()
    if counts.iloc[-1] < folds:
        raise InvalidDataError(
            f"audit.folds is {folds}, and {counts.index[-1]} has {counts.iloc[-1]} different training faces; lower it, "
            "or add images"
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    fold_of = pd.Series(0, index=different["perceptual_hash"])
    for fold, (_, held_out) in enumerate(splitter.split(different, different["label"])):
        fold_of.iloc[held_out] = fold
    return np.asarray(table["perceptual_hash"].map(fold_of), dtype=np.int64)
