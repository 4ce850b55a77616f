"""BlazeFace: finds faces with the network of Bazarevsky et al. (2019, arXiv:1907.05047), short range."""

import hashlib
from collections.abc import Iterator
from functools import cache
from math import ceil, log
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from configs.errors import UserError
from configs.inference_settings import DetectionSettings
from vision.data.boxes import overlap

Array = np.ndarray[Any, Any]

MODEL = Path(__file__).with_name("blazeface.onnx")  # blazeface.md says where it comes from
MODEL_SHA256 = "35febb1b1722cf412b10a287269ae6d17a284845c29ad70d93e49c181009c8bf"
INPUT_SIDE = 128  # pixels of a window that the network sees
GRIDS = ((8, 2), (16, 6))  # pixels from one place with anchors to the next, and anchors at each place
SAME_FACE = 0.3  # boxes of a window that share more (intersection over union) are averaged

SMALLEST = 0.15  # share of a window's side; faces that are smaller in it are mostly missed
MAX_RATIO = 2.0  # between the side of a window and that of the tiles that are searched for smaller faces

# From BlazeFace's box, brow to chin, to the square that FER2013 shows: measured by benchmarks/detection.py
SIDE_FACTOR, RAISED = 1.2, 0.095
# Degrees that a face may lean before it is turned back: half of FER2013's own lean by 6 or more, a tenth by 20 or more
LEVEL = 10.0
BOX, EYES_AND_MOUTH = [0, 1, 2, 3], [4, 5, 6, 7, 10, 11]  # of the 16 numbers of an anchor

Window = tuple[int, int, int]  # left, top and side; it may reach beyond the picture


def search_windows(picture: Array, settings: DetectionSettings) -> Array:
    """Return faces as rows of centre x and y, side, score and turn, of the whole picture and of overlapping tiles.

    `picture` is uint8, (height, width, 3) RGB or (height, width) grey levels. A face in two windows has two rows;
    some are smaller than `min_face_pixels`.
    """
    height, width = picture.shape[:2]
    windows = plan_windows(height, width, settings.min_face_pixels)
    faces = np.concatenate([_search(picture, window, settings.blazeface.min_score) for window in windows])
    turns = np.radians(faces[:, 4])
    faces[:, :2] += RAISED * faces[:, 2:3] * np.column_stack([np.sin(turns), -np.cos(turns)])
    faces[:, 2] *= SIDE_FACTOR
    return np.asarray(faces)


def plan_windows(height: int, width: int, min_face_pixels: int) -> Iterator[Window]:
    """Yield the squares to search: the whole picture, then ever smaller tiles, until the smallest face is seen.

    Tiles overlap by the size of a face that is just too small for the larger windows, so that it is whole in one.
    """
    longer = max(height, width)
    finest = min(longer, ceil(min_face_pixels / SMALLEST))
    steps = ceil(log(longer / finest) / log(MAX_RATIO))
    ratio = (longer / finest) ** (1 / max(1, steps))
    for step in range(steps + 1):
        side = ceil(longer / ratio**step)
        for top in _starts(height, side, SMALLEST * ratio * side):
            for left in _starts(width, side, SMALLEST * ratio * side):
                yield left, top, side


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Return where overlapping tiles of a side begin, so that they cover a length."""
    if side >= length:
        return [(length - side) // 2]
    count = ceil((length - overlap) / (side - overlap))
    return [round(start) for start in np.linspace(0, length - side, count)]


def _search(picture: Array, window: Window, min_score: float) -> Array:
    """Search a window; return BlazeFace's boxes as rows of centre x and y, side, score and turn."""
    left, top, side = window
    outputs = _network().run(None, {"input": letterbox(picture, window)[None]})
    boxes, scores = decode(outputs[0][0], outputs[1][0, :, 0], min_score)
    found = average_overlapping(boxes, scores)
    centres, sides = found[:, :2] * side + [left, top], found[:, 2:4].max(axis=1) * side
    return np.column_stack([centres, sides, found[:, -1], measure_turns(found[:, 4:-1])])


def letterbox(picture: Array, window: Window) -> Array:
    """Return a window as the network sees it, (128, 128, 3) float32 from -1 to 1; black outside the picture."""
    left, top, side = window
    part = picture[max(0, top) : top + side, max(0, left) : left + side]
    scale = INPUT_SIDE / side
    height, width = (max(1, round(length * scale)) for length in part.shape[:2])
    small = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x, y = round(max(0, -left) * scale), round(max(0, -top) * scale)
    seen = np.zeros((INPUT_SIDE, INPUT_SIDE, 3), dtype=np.float32)
    place = seen[y : y + height, x : x + width]
    place[:] = (small if small.ndim == 3 else small[..., None])[: len(place), : place.shape[1]]
    return seen / np.float32(127.5) - np.float32(1)


def decode(regressors: Array, logits: Array, min_score: float) -> tuple[Array, Array]:
    """Return (n, 10) rows and the (n,) scores, of at least min_score, of what is found in a window.

    A row is the box's centre, width and height, then the eye on the left, the one on the right and the mouth, x and y
    each, as shares of the window. `regressors` is (896, 16) of pixels from the anchor, and `logits` is (896,).
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100)))
    sure = scores >= min_score
    rows = regressors[sure][:, BOX + EYES_AND_MOUTH].astype(np.float64) / INPUT_SIDE
    rows[:, :2] += anchors()[sure]
    rows[:, 4:] += np.tile(anchors()[sure], 3)
    return rows, scores[sure]


def measure_turns(points: Array) -> Array:
    """Return by how many degrees more than LEVEL each face leans clockwise, as (n,); less than 0 is anticlockwise.

    `points` are (n, 6), the eyes and the mouth. In a video crops turn steadily: they do not jump at an angle.
    """
    right_eye, left_eye, mouth = points.reshape(-1, 3, 2).swapaxes(0, 1)
    across, down = left_eye - right_eye, mouth - (right_eye + left_eye) / 2
    tilts = np.degrees(np.arctan2(across[:, 1] - down[:, 0], across[:, 0] + down[:, 1]))
    return np.asarray(np.sign(tilts) * np.maximum(0, np.abs(tilts) - LEVEL))


def average_overlapping(boxes: Array, scores: Array) -> Array:
    """Return the rows with their score as the last number, the surest first: one for each group that overlaps.

    `boxes` begin with centre, width and height; what follows is averaged too. Weighted non-maximum suppression: a group
    is averaged with its scores as weights, and has its best score.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    kept = []
    while len(boxes):
        placed = np.column_stack([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, 2:4]])
        same = overlap(placed[0], placed) > SAME_FACE
        same[0] = True  # a box without an area does not overlap even itself
        kept.append((*np.average(boxes[same], axis=0, weights=scores[same]), scores[0]))
        boxes, scores = boxes[~same], scores[~same]
    return np.array(kept, dtype=np.float64).reshape(-1, boxes.shape[1] + 1)


@cache
def anchors() -> Array:
    """Return the centres of the anchors, (896, 2): x and y as shares of the window's side."""
    grids = []
    for stride, repeats in GRIDS:
        places = (np.arange(INPUT_SIDE // stride) + 0.5) * stride / INPUT_SIDE
        y, x = np.meshgrid(places, places, indexing="ij")
        grids.append(np.column_stack([x.ravel(), y.ravel()]).repeat(repeats, axis=0))
    return np.concatenate(grids)


@cache
def _network() -> Any:
    """Load the network once a process. Raises UserError where its file is missing or is another one."""
    import onnxruntime  # takes a moment, and most commands find no faces

    try:
        content = MODEL.read_bytes()
    except OSError as error:
        raise UserError(f"{MODEL} cannot be read: {error.strerror}; {_way_out()}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != MODEL_SHA256:
        raise UserError(f"{MODEL} is not the file that belongs to this version: its SHA-256 is {found}; {_way_out()}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # pictures are searched in parallel already
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _way_out() -> str:
    return f"get it again with `git checkout -- vision/data/{MODEL.name}`, or set --inference.detector haar"
