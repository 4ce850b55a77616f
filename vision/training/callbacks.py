"""Callbacks: what happens after each epoch, and what of it a resumed training has to know."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from tqdm import tqdm

from configs.errors import UserError
from configs.training_settings import PhaseSettings, TrainingSettings
from vision.files.atomic import write_file
from vision.training.batches import FaceBatches
from vision.training.checkpoints import (
    CallbackState,
    Progress,
    RandomState,
    StateFolder,
    learner_variables,
    load_variables,
    restore_seeds,
)
from vision.training.duration import say_seconds
from vision.training.history import EpochHook, FinishedEpochs

logger = logging.getLogger(__name__)


class Resumable(Protocol):
    """A callback that a resumed phase brings to where it was."""

    def get_state(self) -> CallbackState: ...

    def set_state(self, state: CallbackState) -> None: ...


class _WithState:
    """Adds to one of Keras's callbacks the attributes that change from epoch to epoch, as a state."""

    changing: tuple[str, ...]

    def get_state(self) -> CallbackState:
        return {name: getattr(self, name) for name in self.changing}

    def set_state(self, state: CallbackState) -> None:
        for name in self.changing:
            setattr(self, name, state[name])


class EarlyStopping(_WithState, keras.callbacks.EarlyStopping):  # type: ignore[misc]
    """Ends a phase in which the metric has stopped improving."""

    changing = ("best", "wait")


class ReduceOnPlateau(_WithState, keras.callbacks.ReduceLROnPlateau):  # type: ignore[misc]
    """Lowers the learning rate of a phase in which the metric has stopped improving."""

    changing = ("best", "wait", "cooldown_counter")


class MovingAverage(_WithState, keras.callbacks.SwapEMAWeights):  # type: ignore[misc]
    """Scores and keeps the average of the weights over the last steps, and trains on with the weights themselves."""

    changing = ("_ema_weights_in_model",)  # or in the optimizer, and the weights themselves in the model

    def _backend_swap_variables(self, optimizer: Any) -> None:
        if keras.backend.backend() != "jax":
            super()._backend_swap_variables(optimizer)
            return
        # arrays of JAX never change, so they change places where they are; Keras copies each to the host and back
        averages = optimizer._model_variables_moving_average
        for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
            held = variable.value
            variable.assign(average.value)
            average.assign(held)


class BestEpoch(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the best epoch of all phases on disk, reports each epoch with the time that is left.

    `learner` is the network that is trained, `kept` another one for the best epoch's weights. `phase` is the name of
    the phase that is trained. `planned` is the epochs of each phase. Between two writes pass at least `pause` seconds.
    """

    def __init__(
        self, learner: keras.Model, kept: keras.Model, monitor: str, planned: Sequence[int], checkpoint: Path,
        hook: EpochHook,
    ) -> None:  # fmt: skip
        super().__init__()
        self.learner, self.kept, self.monitor, self.planned = learner, kept, monitor, planned
        self.total = max(1, sum(planned))  # without phases, the given weights are scored as if they were an epoch's
        self.checkpoint, self.hook = checkpoint, hook
        self.pause, self.written, self.unwritten = 0.0, -math.inf, False
        self.finished = FinishedEpochs([], [], 0)
        self.phase = ""
        self.progress: Any = None

    def describe(self) -> str:
        """Say which epoch is on disk, and where."""
        best = self.finished.best
        if not best:
            return "no epoch was finished, so there is no checkpoint"
        score = f"{self.monitor} {self.finished.metrics[best - 1][self.monitor]:.4f}"
        return f"the best epoch so far ({best}, {score}) is kept at {self.checkpoint}"

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch_started = time.monotonic()
        name = f"epoch {len(self.finished.metrics) + 1}/{self.total} [{self.phase}]"
        self.progress = tqdm(
            total=self.params["steps"], desc=name, unit=" batches", leave=False, mininterval=5.0, disable=None
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.progress.update(1)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.progress.close()
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        metrics["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        metrics["seconds"] = time.monotonic() - self.epoch_started
        self.record(metrics, left=metrics["seconds"] * (self.params["epochs"] - epoch - 1))

    def on_train_end(self, logs: Any = None) -> None:
        self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Write the best epoch if it is not on disk; at no time is there half a checkpoint under its name."""
        if self.unwritten:
            write_file(self.checkpoint, self.kept.save)
            self.written, self.unwritten = time.monotonic(), False

    def record(self, metrics: dict[str, float], left: float) -> None:
        """Note a finished epoch, keep it if it is the best, and say how it went; `left` is seconds of this phase."""
        before, number = self.finished, len(self.finished.metrics) + 1
        if not math.isfinite(metrics["loss"]) or not math.isfinite(metrics[self.monitor]):
            raise UserError(
                f"training diverged in epoch {number} (loss is {metrics['loss']}); lower training.phases' learning_rate"
            )
        best = before.best == 0 or self._is_better(metrics, before.metrics[before.best - 1])
        if best:
            self.kept.set_weights(self.learner.get_weights())
            self.unwritten = True
        if time.monotonic() - self.written >= self.pause:
            self.save_checkpoint()
        self.finished = FinishedEpochs(
            [*before.metrics, metrics], [*before.phases, self.phase], number if best else before.best
        )
        logger.info(
            "epoch %d/%d [%s] loss %.4f accuracy %.4f | val_loss %.4f val_accuracy %.4f val_macro_f1 %.4f | "
            "%.0f s, %s%s",
            number, self.total, self.phase, metrics["loss"], metrics["accuracy"], metrics["val_loss"],
            metrics["val_accuracy"], metrics["val_macro_f1"], metrics["seconds"],
            f"{say_seconds(left)} left in this phase" if left else "the last of this phase",
            " (best so far)" if best else "",
        )  # fmt: skip
        self.hook(number, metrics)

    def _is_better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        found, other = metrics[self.monitor], than[self.monitor]
        return found < other if self.monitor == "val_loss" else found > other


@dataclass(frozen=True)
class RandomParts:
    """What draws at random in a phase: its batches with their generator, and the seeds of its layers.

    `seeds` are the variables from which layers draw, first those of the whole network.
    """

    batches: FaceBatches
    shuffle: np.random.Generator
    seeds: Sequence[Any]

    def state(self, phase_ended: bool) -> RandomState:
        """Return the state after an epoch; by then the order of a next epoch of the phase is drawn."""
        shuffle = self.shuffle.bit_generator.state if phase_ended else self.batches.drawn_from
        seeds = [keras.ops.convert_to_numpy(seed).tolist() for seed in self.seeds]
        return RandomState(dict(shuffle), seeds)


class KeepProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the state of a training after an epoch of a phase, as often as the best epoch; the last callback of all.

    `phase` is the phase's position, `resumable` are the callbacks with a state. Where `resumed` is the progress of that
    phase, the phase is first brought to it.
    """

    def __init__(
        self, folder: StateFolder, phase: int, best: BestEpoch, random: RandomParts, resumable: Sequence[Resumable],
        resumed: Progress | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.folder, self.phase, self.best, self.random = folder, phase, best, random
        self.resumable = {type(callback).__name__: callback for callback in resumable}
        self.resumed, self.written = resumed, -math.inf

    def on_train_begin(self, logs: Any = None) -> None:
        """Bring model, optimizer, callbacks and batches to where the phase was; the others are reset by now."""
        if self.resumed is None:
            return
        load_variables(self.folder.weights, learner_variables(self.model))
        for name, callback in self.resumable.items():
            callback.set_state(self.resumed.callbacks[name])
        restore_seeds(self.random.seeds, self.resumed.random)
        self.random.batches.draw_again(self.resumed.random.shuffle)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        ended = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not ended and time.monotonic() - self.written < self.best.pause:
            return
        progress = Progress(
            planned=list(self.best.planned),
            finished=self.best.finished,
            phase=self.phase,
            epoch=epoch + 1,
            phase_ended=ended,
            callbacks={name: callback.get_state() for name, callback in self.resumable.items()},
            random=self.random.state(ended),
        )
        self.folder.write(progress, self.model, self.best.kept)
        self.written = time.monotonic()


def schedule_callbacks(settings: TrainingSettings, phase: PhaseSettings) -> list[Any]:
    """Return the callbacks that stop a phase early and, where it says so, lower its learning rate."""
    mode = "min" if settings.monitor == "val_loss" else "max"
    callbacks: list[Any] = [EarlyStopping(settings.monitor, patience=phase.patience, mode=mode)]
    if phase.schedule == "plateau":
        factor, patience = settings.plateau_factor, settings.plateau_patience
        callbacks.append(ReduceOnPlateau(settings.monitor, factor=factor, patience=patience, mode=mode))
    return callbacks
