"""Drawn faces: seeded cartoons of seven expressions, for demonstrations and tests without data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from configs.data_settings import DrawnSettings

# FER2013's training counts; a drawn set is as imbalanced
FER2013_COUNTS = {
    "angry": 3995,
    "disgust": 436,
    "fear": 4097,
    "happy": 7215,
    "neutral": 4965,
    "sad": 4830,
    "surprise": 3171,
}
CANVAS = 192  # faces are drawn large and shrunk, which smooths every line


@dataclass(frozen=True)
class Expression:
    """What a face shows; lengths are shares of the face's width."""

    brow_lift: float  # height of the brows above their rest
    brow_tilt: float  # inner end above (+) or below (-) the outer end
    eye_open: float  # half height of the eye
    mouth_curve: float  # corners above (+) or below (-) the middle
    mouth_open: float  # half height of the open mouth
    mouth_width: float
    nose_wrinkle: float  # length of the lines beside the nose


EXPRESSIONS = {
    "angry": Expression(-0.05, -0.09, 0.045, -0.05, 0.0, 0.17, 0.0),
    "disgust": Expression(-0.03, -0.04, 0.03, -0.04, 0.03, 0.14, 0.10),
    "fear": Expression(0.05, 0.07, 0.085, -0.03, 0.05, 0.19, 0.0),
    "happy": Expression(0.01, 0.0, 0.045, 0.10, 0.03, 0.23, 0.0),
    "neutral": Expression(0.0, 0.0, 0.055, 0.0, 0.0, 0.17, 0.0),
    "sad": Expression(0.01, 0.09, 0.04, -0.09, 0.0, 0.14, 0.0),
    "surprise": Expression(0.09, 0.0, 0.09, 0.0, 0.11, 0.10, 0.0),
}


def class_counts(class_names: tuple[str, ...], faces: int) -> dict[str, int]:
    """Share `faces` among the classes as FER2013 does; a class that it lacks counts as its rarest one."""
    weights = np.array([FER2013_COUNTS.get(name, min(FER2013_COUNTS.values())) for name in class_names])
    exact = weights / weights.sum() * faces
    counts = np.floor(exact).astype(int)
    for position in np.argsort(counts - exact)[: faces - counts.sum()]:
        counts[position] += 1
    return dict(zip(class_names, counts.tolist(), strict=True))


def draw_faces(
    settings: DrawnSettings, class_names: tuple[str, ...], side: int, seed: int
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield (class name, (side, side) uint8 grey levels), shuffled; the same seed draws the same faces."""
    random = np.random.default_rng(seed)
    counts = class_counts(class_names, settings.faces)
    names = [name for name, count in counts.items() for _ in range(count)]
    for position in random.permutation(len(names)):
        name = names[position]
        yield name, draw_face(EXPRESSIONS.get(name, EXPRESSIONS["neutral"]), side, settings.noise, random)


@dataclass(frozen=True)
class _Sheet:
    """A canvas with a face's width in pixels; places and lengths are shares of that width, from the middle."""

    canvas: np.ndarray[Any, np.dtype[np.float32]]
    width: float
    ink: float

    def point(self, x: float, y: float) -> tuple[int, int]:
        return round(CANVAS / 2 + x * self.width), round(CANVAS / 2 + y * self.width)

    def length(self, share: float) -> int:
        return max(1, round(share * self.width))

    @property
    def stroke(self) -> int:
        """Thickness of a thin line in pixels."""
        return self.length(0.025)

    def ellipse(self, center: tuple[float, float], radii: tuple[float, float], level: float) -> None:
        axes = (self.length(radii[0]), self.length(radii[1]))
        cv2.ellipse(self.canvas, self.point(*center), axes, 0, 0, 360, level, -1, cv2.LINE_AA)

    def line(self, start: tuple[float, float], end: tuple[float, float], thickness: int) -> None:
        cv2.line(self.canvas, self.point(*start), self.point(*end), self.ink, thickness, cv2.LINE_AA)


def draw_face(expression: Expression, side: int, noise: float, random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Draw one face as (side, side) uint8, with pose, light and noise from `random`."""
    skin, background = random.uniform(130, 225), random.uniform(20, 120)
    ink = random.uniform(10, 60)
    canvas = np.full((CANVAS, CANVAS), background, dtype=np.float32)
    sheet = _Sheet(canvas, random.uniform(0.62, 0.78) * CANVAS, ink)
    jitter = random.normal(0.0, 0.006, size=7) * sheet.width
    sheet.ellipse((0, 0.02), (0.5, 0.66), skin)
    _draw_eyes(sheet, expression, jitter)
    sheet.line((0, -0.05), (0.03, 0.14), sheet.stroke)
    _draw_mouth(sheet, expression, jitter)

    canvas *= np.linspace(1 - (light := random.uniform(-0.35, 0.35)), 1 + light, CANVAS, dtype=np.float32)[None, :]
    angle, scale = random.normal(0, 7), random.uniform(0.9, 1.08)
    pose = cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), angle, scale)
    pose[:, 2] += random.normal(0, 0.025 * CANVAS, size=2)
    posed = cv2.warpAffine(canvas, pose, (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(posed, (side, side), interpolation=cv2.INTER_AREA)
    noisy = small + random.normal(0, noise, size=small.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def _draw_eyes(sheet: _Sheet, expression: Expression, jitter: np.ndarray[Any, Any]) -> None:
    """Draw brows, eyes and the lines beside the nose."""
    for sign in (-1, 1):
        lift = -0.24 - expression.brow_lift + jitter[0] / sheet.width
        inner, outer = lift - expression.brow_tilt / 2, lift + expression.brow_tilt / 2
        sheet.line((sign * 0.09, inner), (sign * 0.32, outer), sheet.stroke + 1)
        openness = max(0.015, expression.eye_open + jitter[1] / sheet.width)
        sheet.ellipse((sign * 0.2, -0.1), (0.1, openness), 245)
        pupil = sheet.length(min(0.045, openness))
        cv2.circle(sheet.canvas, sheet.point(sign * 0.2, -0.1), pupil, sheet.ink, -1, cv2.LINE_AA)
        if expression.nose_wrinkle:
            sheet.line((sign * 0.08, 0.0), (sign * (0.08 + expression.nose_wrinkle), 0.09), sheet.stroke)


def _draw_mouth(sheet: _Sheet, expression: Expression, jitter: np.ndarray[Any, Any]) -> None:
    across = np.linspace(-1, 1, 15)
    bend = expression.mouth_curve * across**2
    upper = [sheet.point(expression.mouth_width * x, 0.34 - b) for x, b in zip(across, bend, strict=True)]
    opening = max(0.0, expression.mouth_open + float(jitter[2]) / 192) if expression.mouth_open else 0.0
    if opening:
        lower = [
            sheet.point(expression.mouth_width * x, 0.34 - b + 2 * opening * (1 - x**2))
            for x, b in zip(across, bend, strict=True)
        ]
        cv2.fillPoly(sheet.canvas, [np.array(upper + lower[::-1], dtype=np.int32)], sheet.ink, cv2.LINE_AA)
    outline = [np.array(upper, dtype=np.int32)]
    cv2.polylines(sheet.canvas, outline, False, sheet.ink, sheet.stroke + 1, cv2.LINE_AA)
