"""The Haar cascades that OpenCV ships: find upright and slightly tilted faces by their grey levels."""

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.data import haarcascades

from configs.inference_settings import DetectionSettings

Array = np.ndarray[Any, Any]

FACES, EYES = "haarcascade_frontalface_alt2.xml", "haarcascade_eye.xml"
SURE_HITS = 20  # windows that agree on a face; with fewer, it counts as a face only if an eye is found in it
EYE_AREA = (160, 96)  # width and height of the upper part of a face when an eye is searched for
TILTS = (-25.0, 25.0)  # degrees; the cascade finds upright faces only, so the picture is turned for tilted ones
TILTED_HITS = 12  # fewer windows that agree in a turned picture are mostly chance
TILTED_SCALE = 0.5  # turned pictures are searched at half the size, to save time

_cascades = threading.local()  # a CascadeClassifier must not be used by two threads at once


def search_cascades(picture: Array, settings: DetectionSettings) -> Array:
    """Return faces as rows of centre x and y, side, hits and a turn of 0, with the cascades of Viola and Jones (2001).

    `picture` is uint8, (height, width, 3) RGB or (height, width) grey levels. Finds faces that look towards the
    camera, upright or tilted by up to about 40 degrees, by Lienhart and Maydt's features (2002). A face may have
    several rows.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    size = [max(1, round(length * TILTED_SCALE)) for length in gray.shape[::-1]]
    small = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    found = [_search(gray, settings.haar.min_neighbors, settings)]
    found += [_search_turned(small, degrees, settings) for degrees in TILTS]
    faces = np.concatenate(found)
    return np.column_stack([faces, np.zeros(len(faces))])  # what was found tilted is within 15 degrees of other tilts


def _search(gray: Array, least_hits: int, settings: DetectionSettings) -> Array:
    """Return faces as rows of centre x and y, side, and the number of windows that agree."""
    least = (settings.min_face_pixels, settings.min_face_pixels)
    boxes, hits = _cascade(FACES).detectMultiScale2(gray, settings.haar.scale_factor, least_hits, 0, least)
    faces = [
        (x + side / 2, y + side / 2, side, count)
        for (x, y, side, _), count in zip(boxes, np.ravel(hits), strict=True)
        if count >= SURE_HITS or _has_eye(gray[y : y + side, x : x + side])
    ]
    return np.array(faces, dtype=np.float64).reshape(-1, 4)


def _search_turned(gray: Array, degrees: float, settings: DetectionSettings) -> Array:
    """Search the shrunken picture turned by `degrees`; return what `_search` does, in pixels of the upright picture."""
    height, width = gray.shape
    turning = cv2.getRotationMatrix2D((0, 0), degrees, 1.0)
    corners = turning[:, :2] @ np.array([[0, width, 0, width], [0, 0, height, height]])
    turning[:, 2] = -corners.min(axis=1)
    turned = cv2.warpAffine(gray, turning, np.ceil(np.ptp(corners, axis=1)).astype(int).tolist())
    faces = _search(turned, max(settings.haar.min_neighbors, TILTED_HITS), settings)
    back = cv2.invertAffineTransform(turning)
    faces[:, :2] = faces[:, :2] @ back[:, :2].T + back[:, 2]
    faces[:, :3] /= TILTED_SCALE
    return faces


def _has_eye(face: Array) -> bool:
    upper = cv2.resize(face[: round(0.6 * len(face))], EYE_AREA, interpolation=cv2.INTER_LINEAR)
    return len(_cascade(EYES).detectMultiScale(upper, 1.05, 3, 0, (24, 24), (64, 64))) > 0


def _cascade(name: str) -> Any:
    """Return this thread's copy of a cascade."""
    known = vars(_cascades)
    if name not in known:
        known[name] = cv2.CascadeClassifier(str(Path(haarcascades, name)))
    return known[name]
