"""Annotation: a picture with its faces framed and labelled, so that a person can check them at a glance."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]
Area = tuple[float, float, float, float]  # left, top, right, bottom
Color = tuple[int, int, int]

LONGER_SIDE, SHORTER_SIDE = 1280, 240  # at most and, if that leaves room, at least; a label must stay readable
SMALLEST_TEXT, LARGEST_TEXT = 14, 40  # pixels


def fit_picture(picture: Array) -> tuple[Array, float]:
    """Return a (height, width, 3) picture in the size that it is annotated in, and the scale that led there."""
    shorter, longer = sorted(picture.shape[:2])
    scale = min(LONGER_SIDE / longer, max(1.0, SHORTER_SIDE / shorter))
    if scale == 1.0:
        return picture, 1.0
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC), scale


def annotate_picture(picture: Array, boxes: Array, labels: Sequence[str], colors: Sequence[Color]) -> Image.Image:
    """Draw each face's frame and its label onto a copy of a (height, width, 3) uint8 RGB picture.

    `boxes` is (n, 4): x, y, width and height in the picture's pixels. A label stands beside its frame, wholly in the
    picture, where it covers least of other faces and labels.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    frames = [(x, y, x + width, y + height) for x, y, width, height in boxes.tolist()]
    for frame, color in zip(frames, colors, strict=True):
        _draw_frame(draw, frame, color, max(image.size))
    taken: list[Area] = []
    for position, (frame, label, color) in enumerate(zip(frames, labels, colors, strict=True)):
        others = frames[:position] + frames[position + 1 :]
        taken.append(_draw_label(draw, image.size, frame, label, color, others, taken))
    return image


def _draw_frame(draw: ImageDraw.ImageDraw, frame: Area, color: Color, longer: int) -> None:
    width = max(2, min(round(longer / 320), round((frame[2] - frame[0]) / 16)))
    outer = (frame[0] - 1, frame[1] - 1, frame[2] + 1, frame[3] + 1)
    draw.rectangle(outer, outline=(0, 0, 0), width=width + 2)  # a dark edge on both sides shows on any background
    draw.rectangle(frame, outline=color, width=width)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    frame: Area,
    label: str,
    color: Color,
    faces: Sequence[Area],
    taken: Sequence[Area],
) -> Area:
    """Draw one label and return the area that it takes."""
    side = frame[2] - frame[0]
    points = round(min(max(0.17 * side, SMALLEST_TEXT), LARGEST_TEXT))
    while True:
        font = ImageFont.load_default(points)
        left, top, right, bottom = font.getbbox(label)
        pad = max(2, points // 5)
        width, height = right - left + 2 * pad, bottom - top + 2 * pad
        if (width <= size[0] and height <= size[1]) or points <= 6:
            break
        points -= 1
    lines = [frame[1] - height, frame[3], frame[1], frame[3] - height]  # above, below, inside above, inside below
    starts = [frame[0], frame[0] + (side - width) / 2, frame[2] - width]
    places = []
    for y in lines:
        for x in starts:
            x_inside, y_inside = min(max(x, 0), size[0] - width), min(max(y, 0), size[1] - height)
            places.append((x_inside, y_inside, x_inside + width, y_inside + height))
    best = min(
        places,
        key=lambda place: (
            3 * sum(_shared(place, other) for other in taken)
            + sum(_shared(place, other) for other in faces)
            + 0.5 * _shared(place, frame)
        ),
    )
    draw.rectangle(best, fill=color, outline=(0, 0, 0))
    light = np.dot(color, (0.299, 0.587, 0.114)) > 120
    draw.text(
        (best[0] + pad - left, best[1] + pad - top), label, font=font, fill=(0, 0, 0) if light else (255, 255, 255)
    )
    return best


def _shared(one: Area, other: Area) -> float:
    """Return the area that two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
