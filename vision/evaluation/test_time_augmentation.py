"""Test-time augmentation: the shifted and mirrored versions of a face whose answers are averaged."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from vision.model.classifier import predict

Array = np.ndarray[Any, Any]
MIDDLE = (0, 0)
CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
# What `evaluation.test_time_augmentation` names: places of the crop, each also mirrored (Krizhevsky et al. 2012)
VIEWS: dict[str, tuple[tuple[int, int], ...]] = {"flip": (MIDDLE,), "ten_crop": (MIDDLE, *CORNERS)}


def predict_views(classifier: keras.Model, images: Array, batch_size: int, views: str) -> Array:
    """Return (n, classes) float32: the mean of a classifier's output over the views of (n, side, side) uint8 faces.

    The faces must have the side to which the classifier resizes, so that a view is an exact crop of them.
    """
    outputs = [predict(classifier, view, batch_size) for view in make_views(images, crop_margin(classifier), views)]
    return np.asarray(np.mean(outputs, axis=0), dtype=np.float32)


def make_views(images: Array, margin: int, views: str) -> Iterator[Array]:
    """Yield each view of (n, side, side) faces, shifted so that a cut of `margin` on every side shows its place."""
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    side = images.shape[1]
    for down, right in VIEWS[views]:
        top, left = margin * (1 + down), margin * (1 + right)
        shifted = padded[:, top : top + side, left : left + side]
        yield shifted
        yield shifted[:, :, ::-1]


def count_views(views: str) -> int:
    """Return how many views `evaluation.test_time_augmentation` averages; 0 for none."""
    return 2 * len(VIEWS.get(views, ()))


def crop_margin(classifier: keras.Model) -> int:
    """Return how many pixels the classifier cuts off at the top of a face; 0 where it sees all of it."""
    cuts = [layer for layer in classifier.layers if layer.name == "crop"]
    return int(cuts[0].cropping[0][0]) if cuts else 0
