"""Doubts: training faces whose label an audit doubts count less in the loss."""

import numpy as np

from vision.data.faces import TRAIN, FaceSet
from vision.data.relabelling import DOUBTFUL
from vision.training.batches import Array


def find_doubtful(faces: FaceSet) -> Array:
    """Return (training faces,) bool: the label is doubtful. Faces that were never relabelled have no doubts."""
    found: Array = np.zeros(len(faces), dtype=bool)
    if DOUBTFUL in faces.table:
        found = np.asarray(faces.table[DOUBTFUL], dtype=bool)
    return np.asarray(found[faces.rows(TRAIN)])


def weigh_doubtful(faces: FaceSet, weight: float) -> Array | None:
    """Return the (training faces,) weights in the loss, `weight` for doubtful faces and 1 for others; None: all 1."""
    return None if weight == 1.0 else np.where(find_doubtful(faces), weight, 1.0)
