"""What several hosts that train together have to agree on: recipe, faces, code, and the state that they resume from."""

import io
import shutil
import zipfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from configs.errors import UserError
from vision.data.faces import TRAIN
from vision.files.hashes import hash_facts
from vision.model.weight_files import RANDOM, is_classifier_file
from vision.training.checkpoints import StateFolder
from vision.training.hosts import count_hosts
from vision.training.recipe import Recipe, TrainingData


def check_together(data: TrainingData, recipe: Recipe, fingerprint: Mapping[str, str]) -> None:
    """Raise UserError for what cannot be trained on several devices or hosts, and where hosts have different things."""
    if keras.backend.backend() != "jax" or (recipe.training.devices == "one" and count_hosts() == 1):
        return
    check_batches(recipe.training.batch_size, len(data.faces.rows(TRAIN)))
    if count_hosts() > 1:
        check_recipe(recipe)
        check_same(fingerprint)


def check_batches(size: int, faces: int) -> None:
    """Raise UserError where a training batch cannot be shared among all devices."""
    import jax

    if size % jax.device_count() or faces < size:
        raise UserError(
            f"training.batch_size {size}: {jax.device_count()} devices share each batch of {faces} faces in all; set "
            "it to a multiple of the devices that is not more than the faces"
        )


def check_recipe(recipe: Recipe) -> None:
    """Raise UserError for settings with which each host would have to compute something by itself."""
    training, weights = recipe.training, recipe.classifier.weights
    alone = {
        "training.cached_views 0": training.cached_views > 0,
        "training.distillation.teacher none": bool(training.distillation.teachers),
        "training.minutes 0": training.minutes > 0,
        "classifier.weights none or a .keras file": weights != RANDOM and not is_classifier_file(weights),
    }
    if wrong := [setting for setting, given in alone.items() if given]:
        raise UserError(f"several hosts train only with {', '.join(wrong)}; set that, or train on one host")


def check_same(fingerprint: Mapping[str, str]) -> None:
    """Raise UserError where another host has other faces, settings or code."""
    from jax.experimental import multihost_utils

    numbers = np.array([int(hash_facts([value])[:7], 16) for value in fingerprint.values()], dtype=np.int32)
    found = np.asarray(multihost_utils.process_allgather(numbers))
    wrong = [name for name, of_hosts in zip(fingerprint, found.T, strict=True) if len({*of_hosts.tolist()}) > 1]
    if wrong:
        raise UserError(f"the hosts do not train the same: their {', '.join(wrong)} differ; give all of them the same")


def take_state_of_first(kept: StateFolder | None) -> None:
    """Give every host the state that the first one kept: those of hosts that were killed may be of different epochs."""
    if kept is None or count_hosts() == 1:
        return
    import jax

    first = jax.process_index() == 0
    content = np.frombuffer(_pack(kept) if first else b"", dtype=np.uint8)
    size = int(_from_first(np.array([len(content)], dtype=np.int32))[0])
    received = _from_first(content if first else np.zeros(size, dtype=np.uint8))
    if not first:
        shutil.rmtree(kept.folder, ignore_errors=True)
        with zipfile.ZipFile(io.BytesIO(received.tobytes())) as archive:
            if archive.namelist():
                archive.extractall(kept.folder)


def _from_first(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(values))


def _pack(kept: StateFolder) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(kept.folder.rglob("*")) if kept.folder.is_dir() else []:
            archive.write(path, path.relative_to(kept.folder))
    return packed.getvalue()
