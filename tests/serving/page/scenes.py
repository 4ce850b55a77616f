"""Drawn scenes for the page: portraits on a wall, as a photo, as a video and as what a camera sees."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vision.data.synthetic import EXPRESSIONS, draw_face

Picture = np.ndarray[Any, Any]
SIDE = 190


def portrait(emotion: str, seed: int, side: int = SIDE) -> Picture:
    """Draw one face as (side, side, 3) uint8 in a tint of its own."""
    face = draw_face(EXPRESSIONS[emotion], side, 0.0, np.random.default_rng(seed))
    return cv2.applyColorMap(face, [cv2.COLORMAP_PINK, cv2.COLORMAP_BONE, cv2.COLORMAP_PINK][seed % 3])


def scene(size: tuple[int, int], portraits: Sequence[tuple[str, int, int, int]]) -> Picture:
    """Draw a wall of (width, height) pixels with portraits on it, each by emotion, seed, left and top."""
    width, height = size
    shade = np.linspace(205, 150, height, dtype=np.float32)[:, None, None] * np.array([0.86, 0.93, 0.96], np.float32)
    wall = np.repeat(shade, width, axis=1).astype(np.uint8)
    for emotion, seed, left, top in portraits:
        cv2.rectangle(wall, (left - 9, top - 9), (left + SIDE + 8, top + SIDE + 8), (58, 74, 92), -1)
        wall[top : top + SIDE, left : left + SIDE] = portrait(emotion, seed)
    return wall


def write_photo(path: Path, picture: Picture) -> Path:
    cv2.imwrite(str(path), picture)
    return path


def write_video(path: Path, pictures: Sequence[Picture], rate: float) -> Path:
    """Write a VP8 video in WebM, which every Chromium decodes."""
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), rate, (width, height))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path
