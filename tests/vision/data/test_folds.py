from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from configs.errors import InvalidDataError
from vision.data.faces import TRAIN, FaceSet
from vision.data.folds import assign_folds


@pytest.fixture
def faces() -> FaceSet:
    """60 different training faces of two classes, each twice."""
    labels = np.tile(np.repeat(["happy", "sad"], [40, 20]), 2)
    hashes = [f"{number:016x}" for number in range(60)] * 2
    table = {"source": [f"{n:03d}.png" for n in range(120)], "label": labels, "split": TRAIN, "perceptual_hash": hashes}
    return FaceSet("made up", "folder", ("happy", "sad"), np.zeros((120, 2, 2), np.uint8), pd.DataFrame(table))


def test_every_class_has_its_share_of_every_fold(faces: FaceSet) -> None:
    folds = assign_folds(faces, 5, seed=1)

    for fold in range(5):
        assert np.bincount(faces.labels[folds == fold]).tolist() == [16, 8]


def test_all_copies_of_a_face_are_in_one_fold(faces: FaceSet) -> None:
    folds = assign_folds(faces, 5, seed=1)

    assert (folds[:60] == folds[60:]).all()


def test_folds_follow_the_seed_and_not_the_order_of_the_rows(faces: FaceSet) -> None:
    order = np.random.default_rng(0).permutation(len(faces))

    assert (assign_folds(faces, 5, seed=1) != assign_folds(faces, 5, seed=2)).any()
    assert (assign_folds(faces.take(order), 5, seed=1) == assign_folds(faces, 5, seed=1)[order]).all()


def test_a_class_with_fewer_different_faces_than_folds_is_named(faces: FaceSet) -> None:
    table = faces.table.assign(perceptual_hash=faces.table["perceptual_hash"].where(faces.labels == 0, "one"))

    with pytest.raises(InvalidDataError, match=r"audit\.folds is 5, and sad has 1 different training faces"):
        assign_folds(replace(faces, table=table), 5, seed=1)
