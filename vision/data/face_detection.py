"""Detection: finds the faces of a picture with the cascades that OpenCV ships."""

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.data import haarcascades

from configs.settings import DetectionSettings

Array = np.ndarray[Any, Any]

FACES, EYES = "haarcascade_frontalface_alt2.xml", "haarcascade_eye.xml"
SURE_HITS = 20  # windows that agree on a face; with fewer, it counts as a face only if an eye is found in it
EYE_AREA = (160, 96)  # width and height of the upper part of a face when an eye is searched for
TILTS = (-25.0, 25.0)  # degrees; the cascade finds upright faces only, so the picture is turned for tilted ones
TILTED_HITS = 12  # fewer windows that agree in a turned picture are mostly chance
TILTED_SCALE = 0.5  # turned pictures are searched at half the size, to save time

NO_FACE = "no face found"

_cascades = threading.local()  # a CascadeClassifier must not be used by two threads at once


def find_faces(gray: Array, settings: DetectionSettings) -> Array:
    """Return the boxes of the faces in (height, width) uint8 grey levels, from left to right.

    (n, 4) int64: x, y, width and height in the picture's own pixels, squares inside the picture. Finds faces that
    look towards the camera, upright or tilted by up to about 40 degrees, with the cascades of Viola and Jones (2001)
    and Lienhart and Maydt (2002).
    """
    height, width = gray.shape
    scale = min(1.0, settings.detection_side / max(height, width))
    upright = _shrink(gray, scale)
    small = _shrink(upright, TILTED_SCALE)
    found = [_search(upright, scale, settings.min_neighbors, settings)]
    found += [_search_turned(small, scale * TILTED_SCALE, degrees, settings) for degrees in TILTS]
    kept: list[Array] = []  # rows of centre x, centre y, side, hits
    for face in sorted(np.concatenate(found), key=lambda face: (-face[3], *face[:3])):
        if not any(_same(face, other) for other in kept):
            kept.append(face)
    boxes = []
    for x, y, side, _ in kept:
        side = min(round(side), height, width)
        left, top = np.clip([round(x - side / 2), round(y - side / 2)], 0, [width - side, height - side])
        boxes.append((left, top, side, side))
    return np.array(sorted(boxes), dtype=np.int64).reshape(-1, 4)


def cut_largest_face(gray: Array, settings: DetectionSettings) -> Array | None:
    """Return the largest face of (height, width) uint8 grey levels as inference cuts it out, or None without one."""
    boxes = find_faces(gray, settings)
    return crop_face(gray, boxes[boxes[:, 2].argmax()], settings.margin) if len(boxes) else None


def crop_face(gray: Array, box: Array, margin: float) -> Array:
    """Return the square around a box, widened on each side by `margin` of its side, as (side, side) uint8.

    Outside the picture its edge is repeated, so that the face stays in the middle.
    """
    x, y, width, height = (int(value) for value in box)
    side = max(1, round(max(width, height) * (1 + 2 * margin)))
    left, top = x + (width - side) // 2, y + (height - side) // 2
    rows = np.clip(np.arange(top, top + side), 0, gray.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, gray.shape[1] - 1)
    return np.asarray(gray[np.ix_(rows, columns)])


def _search(gray: Array, scale: float, least_hits: int, settings: DetectionSettings) -> Array:
    """Return faces as rows of centre x and y, side, all divided by `scale`, and the number of windows that agree."""
    least = (settings.min_face_pixels, settings.min_face_pixels)
    boxes, hits = _cascade(FACES).detectMultiScale2(gray, settings.scale_factor, least_hits, 0, least)
    faces = [
        ((x + side / 2) / scale, (y + side / 2) / scale, side / scale, count)
        for (x, y, side, _), count in zip(boxes, np.ravel(hits), strict=True)
        if count >= SURE_HITS or _has_eye(gray[y : y + side, x : x + side])
    ]
    return np.array(faces, dtype=np.float64).reshape(-1, 4)


def _search_turned(gray: Array, scale: float, degrees: float, settings: DetectionSettings) -> Array:
    """Search the picture turned by `degrees`; return what `_search` does, in coordinates of the upright picture."""
    height, width = gray.shape
    turning = cv2.getRotationMatrix2D((0, 0), degrees, 1.0)
    corners = turning[:, :2] @ np.array([[0, width, 0, width], [0, 0, height, height]])
    turning[:, 2] = -corners.min(axis=1)
    turned = cv2.warpAffine(gray, turning, np.ceil(np.ptp(corners, axis=1)).astype(int).tolist())
    faces = _search(turned, 1.0, max(settings.min_neighbors, TILTED_HITS), settings)
    back = cv2.invertAffineTransform(turning)
    faces[:, :2] = faces[:, :2] @ back[:, :2].T + back[:, 2]
    faces[:, :3] /= scale
    return faces


def _has_eye(face: Array) -> bool:
    upper = cv2.resize(face[: round(0.6 * len(face))], EYE_AREA, interpolation=cv2.INTER_LINEAR)
    return len(_cascade(EYES).detectMultiScale(upper, 1.05, 3, 0, (24, 24), (64, 64))) > 0


def _same(face: Array, other: Array) -> bool:
    """Say whether the centre of one face lies in the other."""
    distance = np.abs(face[:2] - other[:2]).max()
    return bool(distance < max(face[2], other[2]) / 2)


def _shrink(gray: Array, scale: float) -> Array:
    if scale >= 1.0:
        return gray
    height, width = (max(1, round(length * scale)) for length in gray.shape)
    return np.asarray(cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA))


def _cascade(name: str) -> Any:
    """Return this thread's copy of a cascade."""
    known = vars(_cascades)
    if name not in known:
        known[name] = cv2.CascadeClassifier(str(Path(haarcascades, name)))
    return known[name]
