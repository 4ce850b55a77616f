"""Overlay: frames and labels on a picture's faces, so that a person can check them at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray[Any, Any]
Area = tuple[float, float, float, float]  # left, top, right, bottom
Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

LONGER_SIDE, SHORTER_SIDE = 1280, 240  # pixels: at most and, where that allows it, at least; a label must stay readable
SMALLEST_TEXT, LARGEST_TEXT = 14, 40  # pixels
LEAST_TEXT = 6  # where the picture is too small for a larger label


@dataclass(frozen=True)
class Mark:
    """What is drawn for one face."""

    frame: Area
    label: str
    color: Color


def fit_picture(picture: Array) -> tuple[Array, float]:
    """Resize a (height, width, 3) picture to the size that is annotated; return it and its scale."""
    shorter, longer = sorted(picture.shape[:2])
    scale = min(LONGER_SIDE / longer, max(1.0, SHORTER_SIDE / shorter))
    if scale == 1.0:
        return picture, 1.0
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC), scale


def annotate_picture(picture: Array, boxes: Array, labels: Sequence[str], colors: Sequence[Color]) -> Image.Image:
    """Draw each face's frame and its label onto a copy of a (height, width, 3) uint8 RGB picture.

    `boxes` is (n, 4): x, y, width and height in the picture's pixels. A label stands at its frame, inside the picture,
    where it covers least of other faces and labels.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    frames = [(x, y, x + width, y + height) for x, y, width, height in boxes.tolist()]
    marks = [Mark(*facts) for facts in zip(frames, labels, colors, strict=True)]
    for mark in marks:
        _draw_frame(draw, mark, max(image.size))
    taken: list[Area] = []
    for position, mark in enumerate(marks):
        others = frames[:position] + frames[position + 1 :]
        taken.append(_draw_label(draw, image.size, mark, others, taken))
    return image


def _draw_frame(draw: ImageDraw.ImageDraw, mark: Mark, longer: int) -> None:
    frame = mark.frame
    width = max(2, min(round(longer / 320), round((frame[2] - frame[0]) / 16)))
    outer = (frame[0] - 1, frame[1] - 1, frame[2] + 1, frame[3] + 1)
    draw.rectangle(outer, outline=(0, 0, 0), width=width + 2)  # dark edges on both sides show on any background
    draw.rectangle(frame, outline=mark.color, width=width)


def _draw_label(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], mark: Mark, faces: Sequence[Area], taken: Sequence[Area]
) -> Area:
    """Draw one label away from other `faces` and the labels that are `taken`; return the area that it takes."""
    font, (left, top, right, bottom), pad = _fit_text(mark, size)
    places = _places(mark.frame, (right - left + 2 * pad, bottom - top + 2 * pad), size)

    def covered(place: Area) -> float:
        labels, others = (sum(_shared(place, other) for other in areas) for areas in (taken, faces))
        return 3 * labels + others + 0.5 * _shared(place, mark.frame)

    best = min(places, key=covered)
    draw.rectangle(best, fill=mark.color, outline=(0, 0, 0))
    light = np.dot(mark.color, (0.299, 0.587, 0.114)) > 120
    corner = (best[0] + pad - left, best[1] + pad - top)
    draw.text(corner, mark.label, font=font, fill=(0, 0, 0) if light else (255, 255, 255))
    return best


def _fit_text(mark: Mark, size: tuple[int, int]) -> tuple[Font, Area, int]:
    """Return a font in which the label suits the face and fits into the picture, the text's area, and its margin."""
    points = round(min(max(0.17 * (mark.frame[2] - mark.frame[0]), SMALLEST_TEXT), LARGEST_TEXT))
    while True:
        font = ImageFont.load_default(points)
        left, top, right, bottom = font.getbbox(mark.label)
        pad = max(2, points // 5)
        fits = right - left + 2 * pad <= size[0] and bottom - top + 2 * pad <= size[1]
        if fits or points <= LEAST_TEXT:
            return font, (left, top, right, bottom), pad
        points -= 1


def _places(frame: Area, label: tuple[float, float], size: tuple[int, int]) -> list[Area]:
    """Return where a label of this width and height may stand, the best places first."""
    width, height = label
    lines = [frame[1] - height, frame[3], frame[1], frame[3] - height]  # above, below, inside above, inside below
    starts = [frame[0], frame[0] + (frame[2] - frame[0] - width) / 2, frame[2] - width]
    places = []
    for y in lines:
        for x in starts:
            x_inside, y_inside = min(max(x, 0), size[0] - width), min(max(y, 0), size[1] - height)
            places.append((x_inside, y_inside, x_inside + width, y_inside + height))
    return places


def _shared(one: Area, other: Area) -> float:
    """Return the area that two rectangles share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
