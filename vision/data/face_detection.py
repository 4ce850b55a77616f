"""Detection: the table of detectors, the boxes of a picture's faces, and the squares that are cut out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from configs.inference_settings import DetectionSettings
from vision.data.blazeface_detector import search_windows
from vision.data.haar_detector import search_cascades

Array = np.ndarray[Any, Any]

NO_FACE = "no face found"

# The name that `inference.detector` uses, and what returns the faces of a picture as rows of centre x and y, side, how
# sure it is, and the turn in degrees that makes the face nearly upright; a face may have several rows
DETECTORS: dict[str, Callable[[Array, DetectionSettings], Array]] = {
    "blazeface": search_windows,
    "haar": search_cascades,
}


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a picture, from left to right.

    `boxes` is (n, 4) int64: x, y, width and height in the picture's own pixels, squares inside the picture. `scores`
    are (n,), how sure the detector is, in its own measure. `too_small` counts those under `min_face_pixels`. `turns`
    are (n,), by how many degrees each face leans clockwise more than faces of the training data do.
    """

    boxes: Array
    scores: Array
    too_small: int
    turns: Array


def find_faces(picture: Array, settings: DetectionSettings) -> Array:
    """Return the boxes that `search_faces` finds."""
    return search_faces(picture, settings).boxes


def search_faces(picture: Array, settings: DetectionSettings) -> FoundFaces:
    """Find the faces in a uint8 picture, (height, width, 3) RGB or (height, width) grey levels.

    Raises UserError where the detector's file is missing or altered.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, settings.detection_side / max(height, width))
    found = DETECTORS[settings.detector](_shrink(picture, scale), settings)
    large = found[:, 2] >= settings.min_face_pixels
    kept = _without_repetition(found[large], [])
    small = _without_repetition(found[~large], kept)
    boxes = []
    for x, y, side, score, turn in (face / [scale, scale, scale, 1, 1] for face in kept):
        side = min(round(side), height, width)
        left, top = np.clip([round(x - side / 2), round(y - side / 2)], 0, [width - side, height - side])
        boxes.append((left, top, side, side, score, turn))
    rows = np.array(sorted(boxes), dtype=np.float64).reshape(-1, 6)
    return FoundFaces(rows[:, :4].astype(np.int64), rows[:, 4], len(small), rows[:, 5])


def check_detector(settings: DetectionSettings) -> None:
    """Load the detector before pictures are read. Raises UserError where its file is missing or altered."""
    find_faces(np.zeros((64, 64), dtype=np.uint8), settings)


def cut_largest_face(picture: Array, gray: Array, settings: DetectionSettings) -> Array | None:
    """Return the largest face of a picture as inference cuts it out of its grey levels, or None without one."""
    found = search_faces(picture, settings)
    if not len(found.boxes):
        return None
    largest = found.boxes[:, 2].argmax()
    return crop_face(gray, found.boxes[largest], settings.margin, found.turns[largest])


def crop_face(gray: Array, box: Array, margin: float, turn: float = 0.0) -> Array:
    """Return the square around a box, widened on each side by `margin` of its side, as (side, side) uint8.

    A face that leans clockwise by `turn` degrees is turned back around the middle of its box. Outside the picture its
    edge is repeated, so that the face stays in the middle.
    """
    x, y, width, height = (int(value) for value in box)
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    left, top = x + (width - side) // 2, y + (height - side) // 2
    if turn:
        wide = crop_face(gray, box, margin + (1 + 2 * margin) / 4)  # half as large again, it holds the turned square
        inset = (width - side) // 2 - (width - len(wide)) // 2  # from its edge to the square's
        turning = cv2.getRotationMatrix2D((inset + (side - 1) / 2,) * 2, turn, 1.0)
        turning[:, 2] -= inset
        return np.asarray(cv2.warpAffine(wide, turning, (side, side), borderMode=cv2.BORDER_REPLICATE))
    rows = np.clip(np.arange(top, top + side), 0, gray.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, gray.shape[1] - 1)
    return np.asarray(gray[np.ix_(rows, columns)])


def _without_repetition(found: Array, known: list[Array]) -> list[Array]:
    """Return the surest row of each face that is not among the known ones: centre x, centre y, side, how sure."""
    kept: list[Array] = []
    for face in sorted(found, key=lambda face: (-face[3], *face[:3])):
        if not any(_same(face, other) for other in (*known, *kept)):
            kept.append(face)
    return kept


def _same(face: Array, other: Array) -> bool:
    """Say whether the centre of one face lies in the other."""
    distance = np.abs(face[:2] - other[:2]).max()
    return bool(distance < max(face[2], other[2]) / 2)


def _shrink(picture: Array, scale: float) -> Array:
    if scale >= 1.0:
        return picture
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
