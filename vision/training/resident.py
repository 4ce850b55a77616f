"""Resident training: the faces stay on the accelerator, and many steps run in one compiled call (JAX only)."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from vision.data.faces import TRAIN, FaceSet
from vision.training.batches import Array, FaceBatches
from vision.training.hosts import count_hosts

logger = logging.getLogger(__name__)

TOGETHER = 33  # about so many batches in a call; more gains nothing, and the progress bar would stand still
PLATFORMS = ("gpu", "tpu")  # on a CPU, XLA computes the steps of one call in a single thread
RESIDENT_BYTES = 8 * 10**9  # of faces that are kept on the device

TrainFunction = Callable[[Any, Iterator[Any]], tuple[Any, Any]]


class ResidentBatches(FaceBatches):
    """The batches of FaceBatches as places in their split, many at once: ({"places": (steps, batch) int32},).

    All calls of an epoch have one size, so its last few batches may be left out; the next epoch draws others.
    """

    def __len__(self) -> int:
        return max(1, round(super().__len__() / TOGETHER))

    @property
    def steps(self) -> int:
        return len(self) * self.together

    @property
    def together(self) -> int:
        """The batches of one call."""
        return super().__len__() // len(self)

    def __getitem__(self, position: int) -> tuple[dict[str, Array]]:  # type: ignore[override]
        size = self.together * self.batch_size
        places = self.order[position * size : (position + 1) * size]
        return ({"places": places.reshape(self.together, self.batch_size).astype(np.int32)},)

    def examples(self) -> dict[str, Array]:
        """Return the split: images (n, side, side) uint8, labels (n,), weights (n,) and the teacher's answers."""
        found = {
            "images": self.faces.images[self.rows],
            "labels": self.faces.labels[self.rows].astype(np.int32),
            "weights": self.weights.astype(np.float32),
        }
        return found if self.teacher is None else {**found, "teacher": self.teacher.astype(np.float32)}


def can_reside(faces: FaceSet, batch_size: int, devices: str) -> bool:
    """Return whether the training faces can be kept on the one device that computes: a batch of them or more."""
    taught = len(faces.rows(TRAIN))
    if keras.backend.backend() != "jax" or devices != "one" or count_hosts() > 1 or taught < batch_size:
        return False
    import jax

    if jax.default_backend() not in PLATFORMS:
        return False
    size = taught * math.prod(faces.images.shape[1:]) * faces.images.itemsize
    if size > RESIDENT_BYTES:
        logger.info("the faces take %.0f GB, so they are sent to the device batch by batch", size / 1e9)
        return False
    return True


def resident_train_function(model: keras.Model, batches: ResidentBatches) -> TrainFunction:
    """Return what `fit` calls under JAX instead of one step: all the steps of one item of the batches, compiled."""
    import jax

    examples = {name: jax.device_put(np.asarray(values)) for name, values in batches.examples().items()}
    classes = len(batches.faces.class_names)

    def train_together(state: Any, examples: dict[str, Any], places: Any) -> tuple[Any, Any]:
        def train_once(state: Any, chosen: Any) -> tuple[Any, Any]:
            labels = jax.nn.one_hot(examples["labels"][chosen], classes)
            given = {"images": examples["images"][chosen][..., None].astype("float32"), "labels": labels}
            if "teacher" in examples:
                given["teacher"] = examples["teacher"][chosen]
            logs, state = model.train_step(state, (given, labels, examples["weights"][chosen]))
            return state, logs

        state, logs = jax.lax.scan(train_once, state, places)
        return jax.tree.map(lambda values: values[-1], logs), state

    compiled = jax.jit(train_together, donate_argnums=0)
    return lambda state, iterator: compiled(state, examples, next(iterator)[0]["places"])
