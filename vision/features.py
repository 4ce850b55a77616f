"""Features: what the frozen beginning of a classifier makes of each face, computed once and kept on disk."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from configs.errors import UserError
from configs.settings import AugmentationSettings
from vision.augmentation import apply, build_augmentation
from vision.faces import TRAIN, VALIDATION, FaceSet

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
LARGEST = float(np.finfo(np.float16).max)
GIGABYTE = 1e9
BATCH = 256  # faces whose features are computed at once


@dataclass(frozen=True)
class Features:
    """Memory-mapped float16: `training` (views, training faces, ...) and, as they are, `validation` (1, faces, ...)."""

    training: Array
    validation: Array


@dataclass(frozen=True)
class FeatureStore:
    """A folder of features; the ones that were not used for the longest time go where it exceeds `gigabytes`."""

    folder: Path
    views: int
    gigabytes: float


def split_classifier(classifier: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Cut a classifier before the first layer that learns or is random: (frozen beginning, the rest), sharing layers.

    The rest takes the beginning's output. None where nothing that has weights is frozen at the beginning.
    """
    cut = None
    for layer in classifier.layers:
        if layer.trainable_weights or isinstance(layer, keras.layers.Dropout):
            break
        cut = layer
    if cut is None:
        return None
    beginning = keras.Model(classifier.input, cut.output)
    if not beginning.weights:
        return None
    return beginning, keras.Model(cut.output, classifier.output)


def cache_features(
    beginning: keras.Model,
    faces: FaceSet,
    augmentation: AugmentationSettings,
    crop_size: int,
    seed: int,
    store: FeatureStore,
) -> Features:
    """Return the features of `store.views` augmented views of each training face, and of each validation face.

    They are computed once for the same faces, weights, augmentation and seed. Mixup is not applied here.
    Raises UserError where the disk has no room for them.
    """
    of_faces = augmentation.model_copy(update={"mixup": 0.0})
    key = _key(beginning, faces, of_faces, crop_size, seed, store.views)
    folder = store.folder / key
    shape = tuple(beginning.output.shape[1:])
    if folder.is_dir():
        folder.touch()
        logger.info("frozen features %s: %d views a face taken from disk (%s)", shape, store.views, folder)
    else:
        sizes = {
            TRAIN: (store.views, len(faces.rows(TRAIN)), *shape),
            VALIDATION: (1, len(faces.rows(VALIDATION)), *shape),
        }
        _check_room(store, sum(2 * int(np.prod(size)) for size in sizes.values()))
        logger.info("frozen features %s: computing %d views of each face, kept in %s", shape, store.views, folder)
        unfinished = Path(tempfile.mkdtemp(dir=store.folder))
        try:
            for split, size in sizes.items():
                kept = np.lib.format.open_memmap(unfinished / f"{split}.npy", "w+", np.float16, size)
                _allocate(unfinished / f"{split}.npy")
                for view in range(len(kept)):
                    # layers start again from their seed where they are built, so each view has a seed of its own
                    layers = build_augmentation(of_faces, faces.images.shape[1], crop_size, seed + 1000 * (1 + view))
                    _compute(beginning, faces, split, layers if split == TRAIN else [], kept[view])
                kept.flush()
            with contextlib.suppress(OSError):  # another run with the same faces and weights was faster
                unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _make_room(store, folder)
    loaded = {
        split: np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False) for split in (TRAIN, VALIDATION)
    }
    return Features(loaded[TRAIN], loaded[VALIDATION])


def _compute(beginning: keras.Model, faces: FaceSet, split: str, layers: Sequence[Any], kept: Array) -> None:
    rows = faces.rows(split)
    with tqdm(total=len(rows), desc=f"features of {split}", unit=" faces", leave=False, disable=None) as progress:
        for start in range(0, len(rows), BATCH):
            chosen = rows[start : start + BATCH]
            images = faces.images[chosen][..., None].astype(np.float32)
            seen = apply(list(layers), images, np.zeros((len(chosen), 1), np.float32))["images"]
            output = keras.ops.convert_to_numpy(keras.ops.cast(beginning.predict_on_batch(seen), "float32"))
            kept[start : start + len(chosen)] = np.clip(output, -LARGEST, LARGEST)
            progress.update(len(chosen))


def _key(
    beginning: keras.Model, faces: FaceSet, augmentation: AugmentationSettings, crop_size: int, seed: int, views: int
) -> str:
    """Hash all that decides the features: faces in their order, layers and weights, augmentation, seed and views."""
    digest = hashlib.sha256()
    facts = [augmentation.model_dump(mode="json"), crop_size, seed, views, keras.backend.backend()]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    digest.update("\n".join(faces.table["exact_hash"] + faces.table["split"]).encode())
    for layer in beginning.layers:
        digest.update(f"{layer.name} {type(layer).__name__} {layer.compute_dtype} {layer.output.shape}".encode())
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:32]


def _allocate(file: Path) -> None:
    """Claim the room of a file on disk: without, a disk that fills up kills the process that writes to its map."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _check_room(store: FeatureStore, size: int) -> None:
    store.folder.mkdir(parents=True, exist_ok=True)
    for name, allowed in (
        ("training.cache_gigabytes allows", store.gigabytes * GIGABYTE),
        (f"the disk of {store.folder} has", shutil.disk_usage(store.folder).free),
    ):
        if size > allowed:
            raise UserError(
                f"training.cached_views {store.views} needs {size / GIGABYTE:.1f} GB for the frozen features, "
                f"{name} {allowed / GIGABYTE:.1f} GB; lower it (0: compute them anew in every epoch)"
            )


def _make_room(store: FeatureStore, used: Path) -> None:
    others = sorted((f for f in store.folder.iterdir() if f.is_dir() and f != used), key=lambda f: f.stat().st_mtime)
    sizes = {folder: sum(file.stat().st_size for file in folder.glob("*.npy")) for folder in [*others, used]}
    while others and sum(sizes.values()) > store.gigabytes * GIGABYTE:
        oldest = others.pop(0)
        shutil.rmtree(oldest, ignore_errors=True)  # a run that still reads it keeps its open files
        del sizes[oldest]
