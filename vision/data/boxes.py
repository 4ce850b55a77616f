"""Boxes: how much two of them share."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def overlap(box: Array, boxes: Array) -> Array:
    """Return the intersection over union of a box, (4,) of x, y, width and height, with each of (n, 4) boxes."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = box[2:].prod() + boxes[:, 2:].prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-12))
