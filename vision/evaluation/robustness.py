"""Robustness slices: the same test faces, changed as cameras, light and hands change them, without new labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from sklearn.metrics import f1_score

from configs.training_settings import EvaluationSettings
from vision.data.faces import FaceSet
from vision.evaluation.paired_bootstrap import Gain, paired_bootstrap

Array = np.ndarray[Any, Any]
DARKER, BRIGHTER = 0.5, 1.5  # times the grey levels
BLUR = 1 / 32  # standard deviation of the Gaussian, as a share of the side: 1.5 of 48 pixels
NOISE = 20.0  # standard deviation, in grey levels
JPEG_QUALITY = 30
COVER = 128  # grey level of what covers half of a face
SHIFT = 1 / 12  # of the side, to the right: 4 of 48 pixels
ROTATION = 15.0  # degrees, against the clock


@dataclass(frozen=True)
class SliceScore:
    """Accuracy and macro-F1 of one slice, and how far each is from that of the same faces unchanged."""

    name: str
    accuracy: float
    macro_f1: float
    changes: list[Gain]


@dataclass(frozen=True)
class Robustness:
    """The scores of `faces` test faces of one view, unchanged and in every slice."""

    faces: int
    accuracy: float
    macro_f1: float
    slices: list[SliceScore]

    @property
    def worst_first(self) -> list[SliceScore]:
        """The slices in the order of their accuracy, the lowest first."""
        return sorted(self.slices, key=lambda found: found.accuracy)

    def numbers(self) -> dict[str, float]:
        """Return the metrics that go to MLflow, by name."""
        flat = {"faces": float(self.faces), "plain_accuracy": self.accuracy, "plain_macro_f1": self.macro_f1}
        for found in self.slices:
            flat |= {f"{found.name}_accuracy": found.accuracy, f"{found.name}_macro_f1": found.macro_f1}
            for change in found.changes:
                name = f"{found.name}_{change.metric}_change"
                flat |= {name: change.gain, f"{name}_low": change.low, f"{name}_high": change.high}
        flat["worst_accuracy"] = self.worst_first[0].accuracy
        return {f"test_slice/{name}": value for name, value in flat.items()}


def score_slices(
    answer: Callable[[Array], Array], test: FaceSet, probabilities: Array, settings: EvaluationSettings, seed: int
) -> Robustness:
    """Score a model on `settings.slice_faces` test faces in every slice.

    `answer` returns (n, classes) probabilities of (n, side, side) uint8 faces; `probabilities` are those of all test
    faces unchanged. The faces have the class shares of the test split, and are the same for every model.
    """
    rows = choose_evenly(test.labels, settings.slice_faces, seed)
    images, labels, classes = test.images[rows], test.labels[rows], probabilities.shape[1]
    plain = probabilities[rows].argmax(axis=1)
    slices = []
    for name, change in SLICES.items():
        changed = answer(change(images)).argmax(axis=1)
        changes = paired_bootstrap(plain, changed, labels, classes, settings, seed)
        slices.append(SliceScore(name, *_score(changed, labels), changes))
    return Robustness(len(rows), *_score(plain, labels), slices)


def choose_evenly(labels: Array, count: int, seed: int) -> Array:
    """Return the ascending positions of at most `count` labels, drawn so that each class keeps its share."""
    by_class = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    count = min(count, len(labels))
    # every n-th of the faces in the order of their classes takes each class by its share
    return np.sort(by_class[np.arange(count) * len(labels) // count])


def _score(answers: Array, labels: Array) -> tuple[float, float]:
    present = np.unique(labels)
    macro = f1_score(labels, answers, labels=present, average="macro", zero_division=0)
    return float((answers == labels).mean()), float(macro)


def mirror(images: Array) -> Array:
    """Return (n, side, side) uint8 faces with left and right swapped."""
    return images[:, :, ::-1]


def darken(images: Array) -> Array:
    """Return faces with half their grey levels."""
    return (images * DARKER).astype(np.uint8)


def brighten(images: Array) -> Array:
    """Return faces with one and a half times their grey levels; what is above 255 is white."""
    return np.minimum(images * BRIGHTER, 255).astype(np.uint8)


def blur(images: Array) -> Array:
    """Return faces out of focus."""
    deviation = images.shape[1] * BLUR
    return _each(images, lambda face: cv2.GaussianBlur(face, (0, 0), deviation))


def add_noise(images: Array) -> Array:
    """Return faces with Gaussian noise on every pixel, the same whenever it is called."""
    noise = np.random.default_rng(0).normal(0.0, NOISE, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def compress(images: Array) -> Array:
    """Return faces as they come out of a JPEG file of quality 30."""

    def through_jpeg(face: Array) -> Array:
        _, encoded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))

    return _each(images, through_jpeg)


def cover_lower_half(images: Array) -> Array:
    """Return faces whose lower half is grey, as behind a mask."""
    covered = images.copy()
    covered[:, images.shape[1] // 2 :] = COVER
    return covered


def cover_upper_half(images: Array) -> Array:
    """Return faces whose upper half is grey."""
    covered = images.copy()
    covered[:, : images.shape[1] // 2] = COVER
    return covered


def shift(images: Array) -> Array:
    """Return faces moved to the right by a twelfth of the side; the first column is repeated behind them."""
    pixels = max(1, round(images.shape[2] * SHIFT))
    return np.pad(images, ((0, 0), (0, 0), (pixels, 0)), mode="edge")[:, :, :-pixels]


def rotate(images: Array) -> Array:
    """Return faces turned about their middle against the clock; the edges are repeated outside them."""
    side = images.shape[1]
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), ROTATION, 1.0)
    return _each(images, lambda face: cv2.warpAffine(face, turn, (side, side), borderMode=cv2.BORDER_REPLICATE))


def halve_resolution(images: Array) -> Array:
    """Return faces made half as large and enlarged again."""
    side = images.shape[1]

    def there_and_back(face: Array) -> Array:
        small = cv2.resize(face, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR))

    return _each(images, there_and_back)


def _each(images: Array, change: Callable[[Array], Array]) -> Array:
    return np.stack([change(np.ascontiguousarray(face)) for face in images])


SLICES: Mapping[str, Callable[[Array], Array]] = {
    "mirrored": mirror,
    "darker": darken,
    "brighter": brighten,
    "blurred": blur,
    "noisy": add_noise,
    "jpeg_30": compress,
    "lower_half_covered": cover_lower_half,
    "upper_half_covered": cover_upper_half,
    "shifted": shift,
    "rotated": rotate,
    "half_resolution": halve_resolution,
}
