"""Budget: the epochs that fit into the minutes of a training, measured on a short training of its own."""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from configs.errors import UserError
from configs.training_settings import MOST_EPOCHS, PhaseSettings, TrainingSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.classifier import predict
from vision.training.devices import clear_session
from vision.training.duration import count_multiplications, count_work, say_seconds
from vision.training.history import EpochHook, TrainingHistory, TrainingStoppedError
from vision.training.recipe import Recipe, TrainingData, TrainingPaths
from vision.training.resident import can_reside

logger = logging.getLogger(__name__)

MARGIN = 0.08  # share of the minutes that is left free: no machine is equally fast all the time
FEW, GROWTH = 4, 4  # batches of the first short training, and how many times as many the next one has
ENOUGH_SECONDS = 2.0  # of an epoch of a short training: a shorter one is mostly what each epoch costs anyway
MEASURING_SHARE = 0.1  # of the minutes, after which a short training is not repeated with more batches
MEASURED_MINUTES = 3.0  # that an estimate alone takes for its measure
FORWARD_FACES = 512  # whose prediction is timed
VIEWS_OF_TEACHER = 2
HARMLESS_RATE = 1e-6  # of learning, so that no short training diverges

Train = Callable[[TrainingData, Recipe, TrainingPaths, EpochHook], tuple[keras.Model, TrainingHistory]]


@dataclass(frozen=True)
class Afterwards:
    """What follows a training and has to fit into its minutes: predictions of single faces, and other seconds."""

    predictions: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Rehearsal:
    """A short training of some `faces`: its seconds, those of an epoch of each phase, and those of writing after it.

    `forward` is the seconds of one multiplication of the `network` in a prediction.
    """

    faces: FaceSet
    network: keras.Model
    seconds: float
    epochs: tuple[float, ...]
    writes: tuple[float, ...]
    forward: float


@dataclass(frozen=True)
class Cost:
    """Seconds of a training: of all that happens once, and of an epoch of each phase."""

    once: float
    epochs: tuple[float, ...]

    def of(self, counts: Sequence[int]) -> float:
        """Return the seconds of a training of so many epochs a phase."""
        return self.once + sum(count * epoch for count, epoch in zip(counts, self.epochs, strict=True))


def plan_epochs(data: TrainingData, recipe: Recipe, folder: Path, train: Train, after: Afterwards) -> tuple[int, ...]:
    """Return the epochs of each phase with which training and what follows it end within `training.minutes`.

    All phases are made longer or shorter by one factor, so that each schedule ends (budgeted training: Li, Yumer &
    Ramanan 2020). Trains a few faces in `folder` by `train`, and leaves Keras as it was at the start of a process.
    Raises UserError where not one epoch of each phase fits.
    """
    started, minutes, phases = time.monotonic(), recipe.training.minutes, recipe.training.phases
    logger.info("training.minutes %g: measuring how long an epoch takes on this machine", minutes)
    try:
        rehearsal = _rehearse_enough(data, recipe, folder, train)
    except (KeyboardInterrupt, TrainingStoppedError) as stop:
        raise TrainingStoppedError("stopped while the epochs were planned; nothing was trained yet") from stop
    cost = estimate(rehearsal, data, recipe, after)
    spent = time.monotonic() - started
    counts = stretch([phase.epochs for phase in phases], cost, minutes * 60 * (1 - MARGIN) - spent)
    if not counts:
        needed = (spent + cost.of([1] * len(phases))) / (1 - MARGIN) / 60
        raise UserError(
            f"training.minutes {minutes:g} is too short for one epoch of each phase and what follows the training: on "
            f"this machine they need at least {math.ceil(needed * 10) / 10:g}; raise it, or choose a shorter recipe"
        )
    logger.info(
        "training.minutes %g: %s, where the recipe has %d; it ends after %s, scoring included, with %s an epoch",
        minutes, say_epochs(phases, counts), recipe.epochs, say_seconds(spent + cost.of(counts)),
        " and ".join(map(say_seconds, cost.epochs)),
    )  # fmt: skip
    return counts


def estimate_training(data: TrainingData, recipe: Recipe, folder: Path, train: Train) -> float:
    """Return the seconds of a training without minutes, by trainings of a few of its faces in `folder`.

    Leaves Keras as it was at the start of a process.
    """
    measured = replace(recipe, training=recipe.training.model_copy(update={"minutes": MEASURED_MINUTES}))
    cost = estimate(_rehearse_enough(data, measured, folder, train), data, recipe, Afterwards())
    return cost.of([phase.epochs for phase in recipe.training.phases])


def with_epochs(recipe: Recipe, counts: Sequence[int]) -> Recipe:
    """Return a recipe without minutes whose phases have so many epochs each.

    Where a phase gets shorter, so does its warm-up; where it gets longer, so does its patience.
    """
    phases = tuple(_with_epochs(phase, count) for phase, count in zip(recipe.training.phases, counts, strict=True))
    return replace(recipe, training=recipe.training.model_copy(update={"phases": phases, "minutes": 0.0}))


def _with_epochs(phase: PhaseSettings, count: int) -> PhaseSettings:
    factor = count / phase.epochs
    changes = {
        "epochs": count,
        "warmup_epochs": phase.warmup_epochs * min(1.0, factor),
        "patience": min(MOST_EPOCHS, math.ceil(phase.patience * max(1.0, factor))),
    }
    return phase.model_copy(update=changes)


def stretch(given: Sequence[int], cost: Cost, seconds: float) -> tuple[int, ...]:
    """Return the most epochs of each phase, `given` times one factor, that fit into `seconds`; none fit: empty.

    Each phase has at least one epoch and at most MOST_EPOCHS.
    """
    factors = sorted({Fraction(count, epochs) for epochs in given for count in range(1, MOST_EPOCHS + 1)})
    plans = (tuple(min(MOST_EPOCHS, max(1, int(factor * epochs))) for epochs in given) for factor in factors)
    return max(takewhile(lambda counts: cost.of(counts) <= seconds, plans), key=sum, default=())


def estimate(rehearsal: Rehearsal, data: TrainingData, recipe: Recipe, after: Afterwards) -> Cost:
    """Return what a training of all faces costs, by what a short one of some of them took."""
    network, settings, faces = rehearsal.network, recipe.training, data.faces
    works, tried = (
        [count_work(network, phase, settings, seen) for phase in settings.phases] for seen in (faces, rehearsal.faces)
    )
    epochs = tuple(
        seconds * work.epoch / small.epoch + write
        for seconds, write, work, small in zip(rehearsal.epochs, rehearsal.writes, works, tried, strict=True)
    )
    once = () if settings.distillation.every_view else data.teachers
    asked = VIEWS_OF_TEACHER * len(faces.rows(TRAIN)) * sum(map(count_multiplications, once))
    predicted = after.predictions * count_multiplications(network)
    forward = rehearsal.forward * (asked + predicted + sum(work.features for work in works))
    return Cost(rehearsal.seconds + forward + after.seconds, epochs)


def say_epochs(phases: Sequence[PhaseSettings], counts: Sequence[int]) -> str:
    """Return the epochs of a plan in words, with those of each phase."""
    each = ", ".join(f"{phase.name} {count}" for phase, count in zip(phases, counts, strict=True))
    return f"{sum(counts)} epochs ({each})"


def _rehearse_enough(data: TrainingData, recipe: Recipe, folder: Path, train: Train) -> Rehearsal:
    """Rehearse with more and more faces until an epoch takes long enough to be measured."""
    started, settings, faces = time.monotonic(), recipe.training, data.faces
    whole = max(1, len(faces.rows(TRAIN)) // settings.batch_size)
    # on an accelerator many batches are one call, which counts as it is
    resident = not settings.cached_views and can_reside(faces, settings.batch_size, settings.devices)
    batches = whole if resident else FEW
    while True:
        share = batches * settings.batch_size / len(faces.rows(TRAIN))
        asked = data.teachers if settings.distillation.every_view else ()
        some = TrainingData(take_share(faces, share) if batches < whole else faces, data.class_weights, asked)
        with tempfile.TemporaryDirectory(prefix="measuring-", dir=folder) as temporary, _without_its_lines():
            found = _rehearse(some, recipe, Path(temporary), train)
        clear_session()  # the training itself has to find Keras as it would be without this one
        enough = batches >= whole or min(found.epochs) >= ENOUGH_SECONDS
        if enough or time.monotonic() - started > MEASURING_SHARE * settings.minutes * 60:
            return found
        batches *= GROWTH


def _rehearse(data: TrainingData, recipe: Recipe, folder: Path, train: Train) -> Rehearsal:
    """Train two epochs of each phase, the first of which compiles."""
    started, ends = time.monotonic(), []

    def hook(epoch: int, metrics: Mapping[str, float]) -> None:
        ends.append(time.monotonic())  # the value of the epoch's loss is known, so all that computes has ended

    short = replace(recipe, training=_shorten(recipe.training))
    network, history = train(
        data, short, TrainingPaths(folder / "best.keras", folder / "features", folder / "states"), hook
    )
    total = time.monotonic() - started
    seconds = [epoch["seconds"] for epoch in history.epochs[1::2]]
    whole = [second - first for first, second in zip(ends[::2], ends[1::2], strict=True)]
    writes = [max(0.0, both - epoch) for both, epoch in zip(whole, seconds, strict=True)]
    forward = _time_prediction(network, data.faces.images)
    once = max(0.0, total - 2 * sum(whole))
    return Rehearsal(data.faces, network, once, tuple(seconds), tuple(writes), forward)


def _shorten(settings: TrainingSettings) -> TrainingSettings:
    changes = {"epochs": 2, "warmup_epochs": 0.0, "learning_rate": HARMLESS_RATE, "patience": 2}
    named = [(phase, f"measuring {phase.name}") for phase in settings.phases]
    phases = tuple(phase.model_copy(update={**changes, "name": name}) for phase, name in named)
    return settings.model_copy(update={"phases": phases, "minutes": 0.0})


def _time_prediction(network: keras.Model, images: np.ndarray[Any, Any]) -> float:
    """Return the seconds of one multiplication in a prediction that is compiled."""
    shown = np.resize(images, (FORWARD_FACES, *images.shape[1:]))
    predict(network, shown, FORWARD_FACES // 2)
    started = time.monotonic()
    predict(network, shown, FORWARD_FACES // 2)
    return (time.monotonic() - started) / FORWARD_FACES / count_multiplications(network)


def take_share(faces: FaceSet, share: float) -> FaceSet:
    """Return a share of the training and validation faces, with at least one of each class in each."""
    chosen = []
    for split in (TRAIN, VALIDATION):
        rows = np.random.default_rng(0).permutation(faces.rows(split))
        firsts = np.unique(faces.labels[rows], return_index=True)[1]
        others = np.setdiff1d(np.arange(len(rows)), firsts)
        count = max(len(firsts), math.ceil(share * len(rows)))
        chosen.append(rows[np.concatenate([firsts, others])[:count]])
    return faces.take(np.sort(np.concatenate(chosen)))


@contextmanager
def _without_its_lines() -> Iterator[None]:
    """Leave the epochs of a short training out of the log."""
    lines = logging.getLogger(__name__.rpartition(".")[0])
    level = lines.level
    lines.setLevel(logging.WARNING)
    try:
        yield
    finally:
        lines.setLevel(level)
