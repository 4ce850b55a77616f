"""Features: what the frozen beginning of a classifier makes of each face, computed once and kept on disk."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from configs.errors import UserError
from configs.training_settings import AugmentationSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.files.atomic import write_folder
from vision.files.hashes import HASH_CHARACTERS
from vision.files.locks import wait_for_lock
from vision.training.augmentation import Layers, apply, build_augmentation
from vision.training.duration import Pace, say_seconds
from vision.training.fingerprint import hash_computation

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
LARGEST = float(np.finfo(np.float16).max)
GIGABYTE, FLOAT16_BYTES = 1e9, 2
BATCH = 256  # faces whose features are computed at once
HASHED_AT_ONCE = 8192  # faces


@dataclass(frozen=True)
class Features:
    """Memory-mapped float16: `training` (views, training faces, ...) and, as they are, `validation` (1, faces, ...)."""

    training: Array
    validation: Array


@dataclass(frozen=True)
class Views:
    """How each training face is seen: `count` times, augmented; `crop_size` as in build_augmentation."""

    augmentation: AugmentationSettings
    crop_size: int
    seed: int
    count: int

    def layers(self, number: int, side: int) -> Layers:
        """Return the augmentation of one view of faces of `side` pixels; mixup is not applied to features."""
        of_faces = self.augmentation.model_copy(update={"mixup": 0.0})
        # layers start again from their seed where they are built, so each view has a seed of its own
        return build_augmentation(of_faces, side, self.crop_size, self.seed + 1000 * (1 + number))


@dataclass(frozen=True)
class FeatureStore:
    """A folder of features; the ones that were not used for the longest time go where it exceeds `gigabytes`."""

    folder: Path
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


def cache_features(beginning: keras.Model, faces: FaceSet, views: Views, store: FeatureStore) -> Features:
    """Return the features of `views` of each training face, and of each validation face as it is.

    They are computed once for the same faces, weights, augmentation, seed and code.
    Raises UserError where the disk has no room for them.
    """
    folder = store.folder / _key(beginning, faces, views)
    shape = tuple(beginning.output.shape[1:])
    store.folder.mkdir(parents=True, exist_ok=True)
    lock = store.folder.with_name(f"{store.folder.name}.lock")
    with wait_for_lock(lock, f"another run writes to {store.folder}; waiting for it"):
        if (kept := _open(folder)) is not None:
            folder.touch()
            logger.info("frozen features %s: %d views a face taken from disk (%s)", shape, views.count, folder)
        else:
            sizes = {
                TRAIN: (views.count, len(faces.rows(TRAIN)), *shape),
                VALIDATION: (1, len(faces.rows(VALIDATION)), *shape),
            }
            needed = sum(FLOAT16_BYTES * int(np.prod(size)) for size in sizes.values())
            check_room(f"training.cached_views {views.count}", needed, store, shutil.disk_usage(store.folder).free)
            logger.info("frozen features %s: computing %d views of each face, kept in %s", shape, views.count, folder)
            shutil.rmtree(folder, ignore_errors=True)  # what is left of one that has lost files
            with write_folder(folder) as unfinished:
                _write(unfinished, sizes, beginning, faces, views)
            kept = _open(folder)
        _make_room(store, folder)
    if kept is None:
        raise FileNotFoundError(f"another program deleted {folder}, which was just written")
    return kept


def _open(folder: Path) -> Features | None:
    """Return the features in a folder, or None where one of its files is gone or cut off."""
    try:
        return Features(*(np.load(folder / f"{split}.npy", mmap_mode="r") for split in (TRAIN, VALIDATION)))
    except (OSError, ValueError, EOFError):  # the last two are of NumPy, for files that are cut off
        return None


def _write(
    folder: Path, sizes: Mapping[str, tuple[int, ...]], beginning: keras.Model, faces: FaceSet, views: Views
) -> None:
    """Compute the features of each split and view, batch by batch, into files of these sizes."""
    total = sum(count * of_split for count, of_split, *_ in sizes.values())
    pace = Pace()
    with tqdm(total=total, desc="frozen features", unit=" faces", leave=False, disable=None) as progress:
        for split, size in sizes.items():
            kept = np.lib.format.open_memmap(folder / f"{split}.npy", "w+", np.float16, size)
            _allocate(folder / f"{split}.npy")
            for view in range(size[0]):
                layers = views.layers(view, faces.images.shape[1]) if split == TRAIN else []
                for place, images in _batches(faces, split):
                    pace.start()
                    kept[view, place] = _compute(beginning, layers, images)
                    if pace.stop():
                        seconds = say_seconds(pace.seconds_a_piece() * total / BATCH)
                        logger.info("the frozen features take %s on this machine", seconds)
                    progress.update(len(images))
            kept.flush()


def _batches(faces: FaceSet, split: str) -> Iterator[tuple[slice, Array]]:
    """Give the (n, side, side, 1) float32 faces of a split in order, and where in it they are."""
    rows = faces.rows(split)
    for start in range(0, len(rows), BATCH):
        chosen = rows[start : start + BATCH]
        yield slice(start, start + len(chosen)), faces.images[chosen][..., None].astype(np.float32)


def _compute(beginning: keras.Model, layers: Layers, images: Array) -> Array:
    seen = apply(layers, {"images": images, "labels": np.zeros((len(images), 1), np.float32)})["images"]
    output: Array = keras.ops.convert_to_numpy(keras.ops.cast(beginning.predict_on_batch(seen), "float32"))
    return np.clip(output, -LARGEST, LARGEST)


def _key(beginning: keras.Model, faces: FaceSet, views: Views) -> str:
    """Hash all that decides the features: faces in their order, layers and weights, views, code."""
    digest = hashlib.sha256()
    augmentation = views.augmentation.model_dump(mode="json", exclude={"mixup"})
    facts = [augmentation, views.crop_size, views.seed, views.count, hash_computation()]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    digest.update("\n".join(faces.table["split"]).encode())
    for start in range(0, len(faces), HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(faces.images[start : start + HASHED_AT_ONCE]).data)
    for layer in beginning.layers:
        digest.update(f"{layer.name} {type(layer).__name__} {layer.compute_dtype} {layer.output.shape}".encode())
        for weight in layer.get_weights():
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:HASH_CHARACTERS]


def _allocate(file: Path) -> None:
    """Claim the room of a file on disk: without, a disk that fills up kills the process that writes to its map."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def check_room(asking: str, needed: int, store: FeatureStore, free: int) -> None:
    """Raise UserError where frozen features of `needed` bytes fit neither the setting nor the `free` bytes on disk.

    The error begins with `asking`: the setting, and for what it is asked.
    """
    for name, allowed in (
        ("training.cache_gigabytes allows", store.gigabytes * GIGABYTE),
        (f"the disk of {store.folder} has", free),
    ):
        if needed > allowed:
            raise UserError(
                f"{asking} needs {needed / GIGABYTE:.1f} GB for frozen features, {name} {allowed / GIGABYTE:.1f} GB; "
                "lower it (0: compute them again in every epoch)"
            )


def _make_room(store: FeatureStore, used: Path) -> None:
    others = sorted((f for f in store.folder.iterdir() if f.is_dir() and f != used), key=lambda f: f.stat().st_mtime)
    sizes = {folder: sum(file.stat().st_size for file in folder.glob("*.npy")) for folder in [*others, used]}
    while others and sum(sizes.values()) > store.gigabytes * GIGABYTE:
        oldest = others.pop(0)
        shutil.rmtree(oldest, ignore_errors=True)  # a run that still reads it keeps its open files
        del sizes[oldest]
