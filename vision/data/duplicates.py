"""Duplicates: which images are copies of one another, and across which splits."""

import pandas as pd

from vision.data.faces import TEST, TRAIN, UNASSIGNED, VALIDATION


def audit_copies(table: pd.DataFrame) -> pd.DataFrame:
    """Mark the copies in a FaceSet's table. Return boolean columns on the same index.

    repeated: an identical image comes earlier in the same split.
    conflicting: an identical image has another label.
    leaked: a held-out (validation or test) image that is also in training.
    near_leaked: a held-out image that is not identical to a training image but has the same perceptual hash.
    held_out_copy: a training image that is also in validation or test.
    Images that could not be decoded are never copies.
    """
    decodable = table["error"] == ""
    training = table["split"].isin([TRAIN, UNASSIGNED])
    held_out = table["split"].isin([VALIDATION, TEST])

    def is_among(column: str, rows: pd.Series) -> pd.Series:
        return decodable & table[column].isin(table.loc[decodable & rows, column])

    leaked = held_out & is_among("exact_hash", training)
    labels_of_image = table[decodable].groupby("exact_hash")["label"].nunique()
    return pd.DataFrame(
        {
            "repeated": decodable & table.duplicated(["split", "exact_hash"], keep="first"),
            "conflicting": decodable & (table["exact_hash"].map(labels_of_image) > 1),
            "leaked": leaked,
            "near_leaked": held_out & ~leaked & is_among("perceptual_hash", training),
            "held_out_copy": training & is_among("exact_hash", held_out),
        },
        index=table.index,
    )
