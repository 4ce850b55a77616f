"""Scenes: pictures into which given faces are pasted, so that it is known where they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

HEIGHT, WIDTH = 480, 640
SHAPES = 25  # ellipses, rectangles and lines behind the faces


@dataclass(frozen=True)
class Scene:
    """A picture, (480, 640, 3) uint8 RGB, and the square of the face in it: x, y and side in pixels."""

    picture: Array
    square: tuple[int, int, int]

    def grey(self) -> Array:
        """Return the picture's grey levels."""
        return np.asarray(cv2.cvtColor(self.picture, cv2.COLOR_RGB2GRAY))


def paste_faces(faces: Sequence[Array], sides: tuple[int, int], seed: int) -> Iterator[Scene]:
    """Yield a scene for each face of uint8 grey levels, enlarged to a side between the two given."""
    random = np.random.default_rng(seed)
    for face in faces:
        side = int(random.integers(sides[0], sides[1] + 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in (WIDTH, HEIGHT))
        picture = draw_background(random)
        enlarged = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        picture[top : top + side, left : left + side] = enlarged[..., None]
        yield Scene(picture, (left, top, side))


def draw_turned_faces(faces: Sequence[Array], sides: tuple[int, int], degrees: float, seed: int) -> Iterator[Scene]:
    """Yield as paste_faces does, each face in the middle of a picture that is turned around it."""
    random = np.random.default_rng(seed)
    for face in faces:
        side = int(random.integers(sides[0], sides[1] + 1))
        left, top = (WIDTH - side) // 2, (HEIGHT - side) // 2
        picture, pasted = draw_background(random), np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        pasted[top : top + side, left : left + side] = 255
        layer = np.zeros_like(picture)
        layer[top : top + side, left : left + side] = cv2.resize(face, (side, side))[..., None]
        turning = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1.0)
        turned = cv2.warpAffine(layer, turning, (WIDTH, HEIGHT))
        inside = cv2.warpAffine(pasted, turning, (WIDTH, HEIGHT)) > 127
        picture[inside] = turned[inside]
        yield Scene(picture, (left, top, side))


def draw_background(random: np.random.Generator) -> Array:
    """Draw a gradient between two colours, with shapes and noise on it, as (480, 640, 3) uint8."""
    start, end = random.uniform(0, 255, (2, 3))
    down, right = random.uniform(0, 0.5, 2)
    slope = np.add.outer(np.linspace(0, down, HEIGHT), np.linspace(0, right, WIDTH))
    picture = np.ascontiguousarray((start + slope[..., None] * (end - start)).astype(np.uint8))
    for _ in range(SHAPES):
        colour = random.integers(0, 256, 3).tolist()
        (x, y), (a, b) = random.integers(0, WIDTH, 2).tolist(), random.integers(5, 120, 2).tolist()
        kind = random.integers(3)
        if kind == 0:
            cv2.ellipse(picture, (x, y), (a, b), float(random.uniform(0, 180)), 0, 360, colour, -1)
        elif kind == 1:
            cv2.rectangle(picture, (x, y), (x + a, y + b), colour, -1)
        else:
            cv2.line(picture, (x, y), (x + 2 * a - 100, y + 2 * b - 100), colour, int(random.integers(1, 8)))
    noise = random.normal(0, random.uniform(0, 12), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
