"""Duplicates: which images are copies of one another, and across which splits."""

from typing import Any

import numpy as np
import pandas as pd

from vision.data.face_table import BLOCK
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
    decodable = np.asarray(table["error"] == "")
    training = np.asarray(table["split"].isin([TRAIN, UNASSIGNED]))
    held_out = np.asarray(table["split"].isin([VALIDATION, TEST]))
    exact, similar = hash_texts(table["exact_hash"]), hash_texts(table["perceptual_hash"])
    in_training = decodable & np.isin(exact, exact[decodable & training])
    repeated = np.zeros(len(table), dtype=bool)
    for split in table["split"].unique():
        within = np.flatnonzero(decodable & np.asarray(table["split"] == split))
        repeated[within] = pd.Series(exact[within]).duplicated(keep="first")
    leaked = held_out & in_training
    return pd.DataFrame(
        {
            "repeated": repeated,
            "conflicting": decodable & np.isin(exact, _with_two_labels(exact[decodable], table["label"][decodable])),
            "leaked": leaked,
            "near_leaked": held_out & ~leaked & decodable & np.isin(similar, similar[decodable & training]),
            "held_out_copy": training & decodable & np.isin(exact, exact[decodable & held_out]),
        },
        index=table.index,
    )


def count_near_copies(table: pd.DataFrame) -> dict[str, int]:
    """Count the faces of validation and of test that are near copies of training faces, as audit_copies marks them."""
    near = table.loc[audit_copies(table)["near_leaked"], "split"]
    return {split: int((near == split).sum()) for split in (VALIDATION, TEST)}


def hash_texts(texts: pd.Series) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return a number of 64 bits for each text: of 100 million different ones two are the same once in 3,700 times."""
    if not len(texts):
        return np.zeros(0, dtype=np.uint64)
    blocks = range(0, len(texts), BLOCK)  # each text becomes an object on the way
    hashed = (pd.util.hash_pandas_object(texts.iloc[at : at + BLOCK], index=False, categorize=False) for at in blocks)
    return np.concatenate([block.to_numpy() for block in hashed])


def _with_two_labels(images: np.ndarray[Any, Any], labels: pd.Series) -> np.ndarray[Any, Any]:
    """Return the images, given by number, that stand under several labels."""
    codes = pd.factorize(labels)[0]
    order = np.lexsort((codes, images))
    images, codes = images[order], codes[order]
    return np.unique(images[1:][(images[1:] == images[:-1]) & (codes[1:] != codes[:-1])])
