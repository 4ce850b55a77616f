"""Face cuts: a picture's faces as the model takes them, for batch inference and for the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from configs.inference_settings import DetectionSettings
from vision.data.decoding import measure_levels, resize_face
from vision.data.face_detection import crop_face, search_faces

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Faces:
    """The n faces of a picture.

    `boxes` is (n, 4) int64: x, y, width and height in the picture's pixels. `images` is (n, side, side) uint8, as the
    model takes them. `sizes` are the shorter sides of the crops in pixels, `levels` the brightness, contrast and
    sharpness of each face, `scores` how sure the detector is of each. `too_small` counts those that it left out.
    """

    boxes: Array
    images: Array
    sizes: tuple[int, ...] = ()
    levels: tuple[tuple[float, ...], ...] = ()
    scores: tuple[float, ...] = ()
    too_small: int = 0

    def __len__(self) -> int:
        return len(self.images)


def cut_faces(image: Image.Image, settings: DetectionSettings, side: int) -> Faces:
    """Find the faces of an upright picture and cut them out, resized to `side` pixels."""
    found = search_faces(np.asarray(image.convert("RGB")), settings)
    gray = np.asarray(image.convert("L"))
    crops = [crop_face(gray, box, settings.margin, turn) for box, turn in zip(found.boxes, found.turns, strict=True)]
    return _faces(found.boxes, crops, side, tuple(found.scores.tolist()), found.too_small)


def whole_picture(image: Image.Image, side: int) -> Faces:
    """Return a picture that is a face already, resized to `side` pixels."""
    gray = np.asarray(image.convert("L"))
    return _faces(np.array([[0, 0, gray.shape[1], gray.shape[0]]]), [gray], side, (1.0,), 0)


def no_faces(side: int) -> Faces:
    """Return what a picture that cannot be read has."""
    return _faces(np.empty((0, 4), dtype=np.int64), [], side, (), 0)


def _faces(boxes: Array, crops: Sequence[Array], side: int, scores: tuple[float, ...], too_small: int) -> Faces:
    images = [resize_face(crop, side) for crop in crops]
    stacked = np.array(images, dtype=np.uint8).reshape(-1, side, side)
    levels = tuple(tuple(measure_levels(face).values()) for face in images)
    return Faces(boxes, stacked, tuple(min(crop.shape) for crop in crops), levels, scores, too_small)
