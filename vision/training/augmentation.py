"""Augmentation: Keras layers, declared in the settings, that run inside the training graph."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy.stats import beta

from configs.training_settings import AugmentationSettings
from vision.data.faces import TRAIN, FaceSet
from vision.reporting.reports import Report
from vision.training import plots

GREY_LEVELS = (0, 255)
DEGREES = 360.0
EXAMPLES = 10
QUANTILES = 4096  # of how much mixup mixes

Layers = list[keras.layers.Layer]


@dataclass(frozen=True, kw_only=True)
class AugmentationReport(Report):
    """What is switched on, and a grid of faces before and after."""

    settings: dict[str, float]


def _random_crop(margin: float, side: int, seed: int) -> Layers:
    # The classifier cuts the middle out of what it is given, so a shift by whole pixels crops each face at its own
    # place; Keras's RandomCrop cuts a whole batch at one place. Half a pixel more makes all places equally likely.
    reach = (margin + 0.49) / side
    return [
        keras.layers.RandomTranslation(
            reach, reach, fill_mode="nearest", interpolation="nearest", seed=seed, dtype="float32"
        )
    ]


def _geometry(layer: Callable[..., keras.layers.Layer], *amounts: float, seed: int) -> Layers:
    return [layer(*amounts, fill_mode="nearest", seed=seed, dtype="float32")]


def _light(layer: Callable[..., keras.layers.Layer], amount: float, seed: int) -> Layers:
    return [layer(amount, value_range=GREY_LEVELS, seed=seed, dtype="float32")]


class MixUp(keras.layers.MixUp):  # type: ignore[misc]
    """Keras's layer, which draws from a table how much it mixes.

    Keras draws from the beta distribution by rejection, and a GPU waits for that loop longer than for a small network.
    """

    def __init__(self, alpha: float, seed: int, dtype: str) -> None:
        super().__init__(alpha, seed=seed, dtype=dtype)
        self.table = beta.ppf((np.arange(QUANTILES) + 0.5) / QUANTILES, alpha, alpha).astype(np.float32)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> dict[str, Any]:
        count = self.backend.shape(data["images"])[0]
        seed = seed or self._get_seed_generator(self.backend._backend)
        drawn = self.backend.random.randint((count,), 0, QUANTILES, seed=seed)
        order = self.backend.random.shuffle(self.backend.numpy.arange(0, count, dtype="int32"), seed=seed)
        return {"mix_weight": self.backend.numpy.take(self.table, drawn), "permutation_order": order}


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
    "mixup": lambda a, side, seed: [MixUp(a, seed=seed, dtype="float32")],
}


def build_augmentation(settings: AugmentationSettings, side: int, crop_size: int, seed: int) -> Layers:
    """Return the layers that the settings switch on, for faces of which the network sees the middle `crop_size` pixels.

    Each takes {"images": (n, side, side, 1) float32 of 0-255, "labels": (n, classes) float32} and
    `training`, and gives back the same; mixup also mixes the labels. 0 for `crop_size` means all of the face.
    """
    layers: Layers = []
    for position, (name, build) in enumerate(AUGMENTATIONS.items()):
        amount = float(getattr(settings, name))
        if amount:
            layers += build((side - crop_size) // 2 if name == "random_crop" else amount, side, seed + position)
    if keras.backend.backend() == "jax":
        # Keras keeps its geometric layers out of XLA, which TensorFlow needs and JAX does not; under JAX one such layer
        # would leave the whole training step uncompiled, several times slower
        for layer in layers:
            layer.supports_jit = True
    return layers


def preview_faces(faces: FaceSet, settings: AugmentationSettings, crop_size: int, seed: int) -> AugmentationReport:
    """Augment a few training faces twice each and draw what the network sees of them under the originals."""
    rows = np.random.default_rng(seed).permutation(faces.rows(TRAIN))[:EXAMPLES]
    originals = faces.images[np.sort(rows)]
    side = originals.shape[1]
    layers = build_augmentation(settings, side, crop_size, seed)
    margin = (side - (crop_size or side)) // 2
    middle = slice(margin, margin + (crop_size or side))
    versions = [augment(originals, layers)[:, middle, middle] for _ in range(2)]
    return AugmentationReport(
        settings={name: float(getattr(settings, name)) for name in AUGMENTATIONS},
        figures={"augmentation.png": plots.augmentation(originals, versions)},
    )


def apply(layers: Layers, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the backend's data after the layers.

    `data` has "images" (n, side, side, channels) float32, or features (n, channels), and "labels" (n, classes). It may
    have a "teacher" (n, classes), which mixup mixes as it mixes the labels.
    """
    changed = dict(data)
    flat = len(data["images"].shape) == 2
    if flat:  # Keras's layers take images only
        changed["images"] = data["images"][:, None, None, :]
    if "teacher" in data:  # Keras's layers leave other keys alone, so for them it is more columns of the labels
        changed["labels"] = keras.ops.concatenate([data["labels"], changed.pop("teacher")], axis=-1)
    for layer in layers:
        changed = layer(changed, training=True)
    if flat:
        changed["images"] = changed["images"][:, 0, 0, :]
    if "teacher" in data:
        targets, classes = changed["labels"], data["labels"].shape[-1]
        changed |= {"labels": targets[:, :classes], "teacher": targets[:, classes:]}
    return changed


def augment(images: np.ndarray[Any, Any], layers: Layers) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return (n, side, side) uint8 faces as training would see them."""
    labels = np.zeros((len(images), 1), np.float32)
    changed = apply(layers, {"images": images[..., None].astype(np.float32), "labels": labels})["images"]
    return np.asarray(np.clip(keras.ops.convert_to_numpy(changed)[..., 0], *GREY_LEVELS), dtype=np.uint8)
