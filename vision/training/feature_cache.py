"""Features: what the frozen beginning of a classifier makes of each face, computed once and kept on disk."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from configs.errors import UserError
from configs.settings import AugmentationSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.training.augmentation import apply, build_augmentation
from vision.training.checkpoints import code_hash

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
LARGEST = float(np.finfo(np.float16).max)
GIGABYTE = 1e9
BATCH = 256  # faces whose features are computed at once
HASHED_AT_ONCE = 8192  # faces


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

    They are computed once for the same faces, weights, augmentation, seed and code. Mixup is not applied here.
    Raises UserError where the disk has no room for them.
    """
    of_faces = augmentation.model_copy(update={"mixup": 0.0})
    key = _key(beginning, faces, of_faces, crop_size, seed, store.views)
    shape = tuple(beginning.output.shape[1:])
    with _alone_in(store.folder):
        folder = store.folder / key
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
                    _write(unfinished / f"{split}.npy", size, beginning, faces, split, of_faces, crop_size, seed)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        _make_room(store, folder)
        training, validation = (np.load(folder / f"{split}.npy", mmap_mode="r") for split in (TRAIN, VALIDATION))
    return Features(training, validation)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder, or removing from it, meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        logger.info("another run writes to %s; waiting for it", folder)
        held = lock.acquire()
    with held:
        yield


def _write(
    file: Path,
    size: tuple[int, ...],
    beginning: keras.Model,
    faces: FaceSet,
    split: str,
    augmentation: AugmentationSettings,
    crop_size: int,
    seed: int,
) -> None:
    kept = np.lib.format.open_memmap(file, "w+", np.float16, size)
    _allocate(file)
    for view in range(len(kept)):
        # layers start again from their seed where they are built, so each view has a seed of its own
        layers = build_augmentation(augmentation, faces.images.shape[1], crop_size, seed + 1000 * (1 + view))
        _compute(beginning, faces, split, layers if split == TRAIN else [], kept[view])
    kept.flush()


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
    """Hash all that decides the features: faces in their order, layers and weights, augmentation, seed, views, code."""
    digest = hashlib.sha256()
    facts = [augmentation.model_dump(mode="json"), crop_size, seed, views, code_hash()]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    digest.update("\n".join(faces.table["split"]).encode())
    for start in range(0, len(faces), HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(faces.images[start : start + HASHED_AT_ONCE]).data)
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
