"""Augmentation: Keras layers, declared in the settings, that run inside the training graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from configs.settings import AugmentationSettings
from vision import plots
from vision.faces import TRAIN, FaceSet
from vision.reports import Report

GREY_LEVELS = (0, 255)
DEGREES = 360.0
EXAMPLES = 10

Layers = list[keras.layers.Layer]


@dataclass(frozen=True, kw_only=True)
class AugmentationReport(Report):
    """What is switched on, and a grid of faces before and after."""

    settings: dict[str, float]


def _random_crop(pixels: float, side: int, seed: int) -> Layers:
    # shifting by up to half the margin, then cutting the middle out, crops each image at its own place;
    # Keras's RandomCrop cuts a whole batch at one place
    margin = (side - pixels) / 2 / side
    return [
        keras.layers.RandomTranslation(margin, margin, fill_mode="nearest", seed=seed, dtype="float32"),
        keras.layers.CenterCrop(int(pixels), int(pixels), dtype="float32"),
        keras.layers.Resizing(side, side, dtype="float32"),
    ]


def _geometry(layer: Callable[..., keras.layers.Layer], *amounts: float, seed: int) -> Layers:
    return [layer(*amounts, fill_mode="nearest", seed=seed, dtype="float32")]


def _light(layer: Callable[..., keras.layers.Layer], amount: float, seed: int) -> Layers:
    return [layer(amount, value_range=GREY_LEVELS, seed=seed, dtype="float32")]


# setting -> layers for its amount; the order is the order of application
AUGMENTATIONS: dict[str, Callable[[float, int, int], Layers]] = {
    "flip": lambda amount, side, seed: [keras.layers.RandomFlip("horizontal", seed=seed, dtype="float32")],
    "rotation_degrees": lambda a, side, seed: _geometry(keras.layers.RandomRotation, a / DEGREES, seed=seed),
    "shift": lambda a, side, seed: _geometry(keras.layers.RandomTranslation, a, a, seed=seed),
    "zoom": lambda a, side, seed: _geometry(keras.layers.RandomZoom, a, seed=seed),
    "random_crop": _random_crop,
    "brightness": lambda a, side, seed: _light(keras.layers.RandomBrightness, a, seed),
    "contrast": lambda a, side, seed: _light(keras.layers.RandomContrast, a, seed),
    "erasing": lambda a, side, seed: [
        keras.layers.RandomErasing((a, a), scale=(0.02, 0.2), value_range=GREY_LEVELS, seed=seed, dtype="float32")
    ],
    "mixup": lambda a, side, seed: [keras.layers.MixUp(a, seed=seed, dtype="float32")],
}


def build_augmentation(settings: AugmentationSettings, side: int, seed: int) -> Layers:
    """Return the layers that the settings switch on.

    Each takes {"images": (n, side, side, 1) float32 of 0-255, "labels": (n, classes) float32} and
    `training`, and gives back the same; mixup also mixes the labels.
    """
    layers: Layers = []
    for position, (name, build) in enumerate(AUGMENTATIONS.items()):
        amount = float(getattr(settings, name))
        if amount:
            layers += build(amount, side, seed + position)
    return layers


def preview_faces(faces: FaceSet, settings: AugmentationSettings, seed: int) -> AugmentationReport:
    """Augment a few training faces twice each and draw them under the originals."""
    rows = np.random.default_rng(seed).permutation(faces.rows(TRAIN))[:EXAMPLES]
    originals = faces.images[np.sort(rows)]
    layers = build_augmentation(settings, originals.shape[1], seed)
    versions = [augment(originals, layers), augment(originals, layers)]
    return AugmentationReport(
        settings={name: float(getattr(settings, name)) for name in AUGMENTATIONS},
        figures={"augmentation.png": plots.augmentation(originals, versions)},
    )


def augment(images: np.ndarray[Any, Any], layers: Layers) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return (n, side, side) uint8 faces as training would see them."""
    data: Any = {"images": images[..., None].astype(np.float32), "labels": np.zeros((len(images), 1), np.float32)}
    for layer in layers:
        data = layer(data, training=True)
    return np.asarray(np.clip(keras.ops.convert_to_numpy(data["images"])[..., 0], *GREY_LEVELS), dtype=np.uint8)
