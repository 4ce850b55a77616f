"""Duration: how long a training takes on this machine, measured on a few of its own batches."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from configs.training_settings import PhaseSettings, TrainingSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.classifier import is_trainable
from vision.training.recipe import Recipe

logger = logging.getLogger(__name__)

MEASURED = 3  # batches or blocks of faces, after the first, which compiles
LONG_SECONDS = 3600.0
BACKWARD = 2  # times the work of forward, in a layer that learns: the gradients of its inputs and of its weights
QUICK = "--config configs/quick.yaml (about ten minutes on two cores with AVX-512)"
QUICK_EPOCHS = 12  # of the compact network
COMPACT = "--config configs/compact.yaml (about 90 minutes there)"


@dataclass(frozen=True)
class PhaseWork:
    """Multiplications of a phase: of one training batch, of an epoch with its validation, and of frozen features."""

    batches: int
    batch: float
    epoch: float
    features: float


class Pace:
    """Times pieces of work of one size until it knows enough of them."""

    def __init__(self) -> None:
        self.pieces, self.seconds, self.started = 0, 0.0, 0.0

    @property
    def measured(self) -> int:
        return max(0, self.pieces - 1)

    def start(self) -> None:
        self.started = time.monotonic()

    def stop(self) -> bool:
        """Return True after the piece with which it knows enough, and only then."""
        if self.pieces:  # the first compiles
            self.seconds += time.monotonic() - self.started
        self.pieces += 1
        return self.measured == MEASURED

    def seconds_a_piece(self) -> float:
        return self.seconds / self.measured


@dataclass(frozen=True)
class Plan:
    """What is left of a training: the work and the epochs of each phase; `shorter` ends a sentence on a long one."""

    works: tuple[PhaseWork, ...]
    epochs: tuple[int, ...]
    resumed: bool
    shorter: str

    @property
    def features(self) -> float:
        """Multiplications for the frozen features of later phases; those of the first are computed before it."""
        return sum(work.features for work in self.works[1:])

    def seconds(self, of_a_batch: float) -> float:
        """Return how long it takes, where a batch of the first phase takes so many seconds."""
        epochs = sum(work.epoch * count for work, count in zip(self.works, self.epochs, strict=True))
        return of_a_batch * (epochs + self.features) / self.works[0].batch


class TellDuration(keras.callbacks.Callback):  # type: ignore[misc]
    """Says once, after the first batches of the plan's first phase, how long the plan takes.

    The batches are those of the training itself, so measuring changes nothing and costs nothing.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, self.pace, self.told = plan, Pace(), False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.pace.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.pace.stop():
            self.tell()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.pace.measured:  # an epoch of a few batches only
            self.tell()

    def tell(self) -> None:
        """Log how long it takes, if that was not said yet."""
        if self.told:
            return
        self.told, plan = True, self.plan
        seconds = plan.seconds(self.pace.seconds_a_piece())
        logger.info(
            "%s takes %s on this machine (%d epochs of %d batches%s, measured on %d batches)%s",
            "the rest of this training" if plan.resumed else "this training", say_seconds(seconds),
            sum(plan.epochs), plan.works[0].batches, " and frozen features" if plan.features else "",
            self.pace.measured, plan.shorter if seconds > LONG_SECONDS else "",
        )  # fmt: skip


def plan_training(classifier: keras.Model, recipe: Recipe, faces: FaceSet, phase: int, finished: int) -> Plan:
    """Return what is left of a training that is at the position `phase`, of which `finished` epochs are done."""
    phases = recipe.training.phases[phase:]
    return Plan(
        works=tuple(count_work(classifier, left, recipe.training, faces) for left in phases),
        epochs=(phases[0].epochs - finished, *(left.epochs for left in phases[1:])),
        resumed=phase + finished > 0,
        shorter=name_shorter_recipe(recipe.classifier.backbone, recipe.epochs),
    )


def count_work(classifier: keras.Model, phase: PhaseSettings, settings: TrainingSettings, faces: FaceSet) -> PhaseWork:
    """Count the multiplications by kernels of a classifier's phase on these faces."""
    costs = [_multiplications(layer) for layer in classifier.layers]
    learns = [bool(layer.weights) and is_trainable(layer, phase.trainable) for layer in classifier.layers]
    cut = learns.index(True) if True in learns else len(costs)
    frozen, rest = sum(costs[:cut]), sum(costs[cut:])
    taught, validated = len(faces.rows(TRAIN)), len(faces.rows(VALIDATION))
    kept = bool(settings.cached_views and frozen)
    forward = rest if kept else frozen + rest
    batches = max(1, taught // settings.batch_size)
    batch = settings.batch_size * (forward + BACKWARD * rest)
    features = float(frozen * (settings.cached_views * taught + validated)) if kept else 0.0
    return PhaseWork(batches, batch, batches * batch + validated * forward, features)


def count_multiplications(classifier: keras.Model) -> int:
    """Return how often a classifier multiplies by its kernels for one face."""
    return sum(_multiplications(layer) for layer in classifier.layers)


def _multiplications(layer: keras.Layer) -> int:
    """Return how often a layer multiplies by its kernel for one face; layers without a kernel cost next to nothing."""
    kernel = getattr(layer, "kernel", None)
    return 0 if kernel is None else int(np.prod(kernel.shape)) * int(np.prod(layer.output.shape[1:-1]))


def name_shorter_recipe(backbone: str, epochs: int) -> str:
    """Return the end of a sentence that names shorter recipes than a training of so many epochs, or nothing."""
    if backbone != "vgg_compact":
        return f"; shorter recipes: {QUICK}, {COMPACT}"
    return f"; a shorter recipe: {QUICK}" if epochs > QUICK_EPOCHS else ""


def say_seconds(seconds: float) -> str:
    """Return a time as a person would say it: about 20 s, about 43 min, about 3.5 h."""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 100 * 60 else f"about {seconds / 3600:.1f} h"
