"""Checkpoints: what a stopped training needs to resume from its last epoch, on disk at any time.

Keras's BackupAndRestore writes over its only copy, and knows neither of phases, of random seeds, of the order of the
batches nor of whose state it is.
"""

import io
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from pydantic import TypeAdapter, ValidationError

from vision.files.atomic import write_file, write_folder
from vision.files.hashes import hash_file
from vision.files.locks import InUseError, hold_lock
from vision.training.fingerprint import state_key
from vision.training.history import FinishedEpochs
from vision.training.state_store import StateStore

logger = logging.getLogger(__name__)

STATE, WEIGHTS = "state.json", "learner.npz"
KEPT = 3  # trainings whose state is kept; each takes up to five times its model

CallbackState = dict[str, int | float | bool | None]


@dataclass(frozen=True)
class RandomState:
    """What is drawn next: the generator's state before it drew the next epoch's order, and the seeds of the layers."""

    shuffle: dict[str, Any]
    seeds: list[list[int]]


@dataclass(frozen=True)
class Progress:
    """How far a training has come. `phase` is a position, `epoch` counts the finished epochs of that phase.

    `planned` is the epochs of each phase that the training was to have, `callbacks` the state of each callback that has
    one, by name.
    """

    planned: list[int]
    finished: FinishedEpochs
    phase: int
    epoch: int
    phase_ended: bool
    callbacks: dict[str, CallbackState]
    random: RandomState


@dataclass(frozen=True)
class KeptProgress:
    """What STATE holds: whose progress it is, and the SHA-256 of the files of weights."""

    fingerprint: dict[str, str]
    progress: Progress
    files: dict[str, str]


PROGRESS = TypeAdapter(KeptProgress)


class DamagedStateError(Exception):
    """A state that was half written, or changed since."""


class StateFolder:
    """The newest state of one training: `epoch-N` with STATE and WEIGHTS, and beside it the best epoch's weights.

    Each is copied to the `store`, where there is one.
    """

    def __init__(self, folder: Path, fingerprint: Mapping[str, str], store: StateStore | None = None) -> None:
        self.folder, self.fingerprint, self.store = folder, dict(fingerprint), store
        self.hashes: dict[str, str] = {}

    @property
    def weights(self) -> Path:
        """The learner's weights after the last epoch, with its optimizer's variables."""
        return _newest_epoch(self.folder) / WEIGHTS

    def best(self, epoch: int) -> Path:
        """Return where the weights of the best epoch are."""
        return self.folder / f"best-{epoch}.npz"

    def read(self) -> Progress | None:
        """Return the progress of this very training, or None; what cannot be used is removed, and the log says so."""
        if not self.folder.is_dir():
            return None
        try:
            found = _read(self.folder)
            if others := _differences(found.fingerprint, self.fingerprint):
                raise DamagedStateError(f"it is of another training: {others}")
            for name, expected in found.files.items():
                if not (self.folder / name).is_file() or hash_file(self.folder / name) != expected:
                    raise DamagedStateError(f"{name} is not as it was written")
        except DamagedStateError as error:
            logger.warning(
                "the state in %s is not used, the training starts from the beginning: %s", self.folder, error
            )
            shutil.rmtree(self.folder)
            return None
        self._tidy(found.progress)
        return found.progress

    def write(self, progress: Progress, learner: keras.Model, best: keras.Model) -> None:
        """Keep the state after an epoch; at no time is there half a state, and only the newest stays."""
        self.folder.mkdir(parents=True, exist_ok=True)
        best_file = self.best(progress.finished.best)
        if not best_file.exists():
            write_file(best_file, lambda path: save_variables(path, best.weights))
            self.hashes = {}
        if best_file.name not in self.hashes:
            self.hashes = {best_file.name: hash_file(best_file)}
        newest = self.folder / f"epoch-{len(progress.finished.metrics)}"
        with write_folder(newest) as unfinished:
            save_variables(unfinished / WEIGHTS, learner_variables(learner))
            files = {**self.hashes, f"{newest.name}/{WEIGHTS}": hash_file(unfinished / WEIGHTS)}
            kept = KeptProgress(self.fingerprint, progress, files)
            (unfinished / STATE).write_text(json.dumps(PROGRESS.dump_python(kept)), encoding="utf-8")
        self._tidy(progress)
        if self.store:
            self.store.push(self.folder.name, self.folder)

    def _tidy(self, progress: Progress) -> None:
        """Remove older epochs, and what a process left half written when it was killed."""
        used = {f"epoch-{len(progress.finished.metrics)}", self.best(progress.finished.best).name}
        for path in self.folder.iterdir():
            if path.name not in used:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def learner_variables(learner: keras.Model) -> list[Any]:
    """Return what training changes in a compiled model: its classifier's weights, and its optimizer's variables."""
    return [*learner.classifier.weights, *learner.optimizer.variables]


def save_variables(file: Path, variables: Sequence[Any]) -> None:
    """Write variables in their order, or raise OSError: HDF5, as Keras writes it, may crash where a disk is full."""
    content = io.BytesIO()
    np.savez(content, *(keras.ops.convert_to_numpy(variable) for variable in variables))
    file.write_bytes(content.getbuffer())


def load_variables(file: Path, variables: Sequence[Any]) -> None:
    """Set variables to what `save_variables` wrote of as many of the same shapes."""
    with np.load(file, allow_pickle=False) as saved:
        for variable, name in zip(variables, saved.files, strict=True):
            variable.assign(saved[name])


@contextmanager
def keep_state(
    states: Path | None, fingerprint: Mapping[str, str], store: StateStore | None = None
) -> Iterator[StateFolder | None]:
    """Open the state of the training with this fingerprint, which no other process of this machine uses meanwhile.

    Where the folder has none, that of the `store` is taken. None where `states` is None, or where another process
    trains the very same. States of other trainings are not touched, except that the oldest ones go.
    """
    if states is None:
        yield None
        return
    states.mkdir(parents=True, exist_ok=True)
    key, folder = state_key(fingerprint), None
    with ExitStack() as lock:
        try:
            lock.enter_context(hold_lock(states / f"{key}.lock"))
        except InUseError:
            logger.warning("another run trains the same at this moment, so this one could not be resumed")
        else:
            _look_at_others(states, key, fingerprint)
            if store and not (states / key).is_dir():
                store.fetch(key, states / key)
            folder = StateFolder(states / key, fingerprint, store)
        yield folder


def forget_state(states: Path, key: str) -> None:
    """Remove the state of a training whose model has arrived where it should, unless a process uses it."""
    try:
        with hold_lock(states / f"{key}.lock"):
            shutil.rmtree(states / key, ignore_errors=True)
            (states / f"{key}.lock").unlink(missing_ok=True)
    except InUseError:
        logger.debug("the state %s is in use", key)


def layer_seeds(layers: Sequence[keras.Layer]) -> list[Any]:
    """Return the variables from which the layers draw; Keras leaves them out of a model's weights."""
    weights = {id(weight) for layer in layers for weight in layer.weights}
    found = {id(variable): variable for layer in layers for variable in layer.variables if id(variable) not in weights}
    return list(found.values())


def restore_seeds(seeds: Sequence[Any], random: RandomState) -> None:
    """Let layers draw on from where they had come; `seeds` may be the first of those that the state has."""
    for seed, value in zip(seeds, random.seeds, strict=False):
        seed.assign(value)


def _newest_epoch(folder: Path) -> Path:
    """Return the folder of the last finished epoch. Raises DamagedStateError where none was finished."""
    numbers = [int(found[1]) for path in folder.iterdir() if (found := re.fullmatch(r"epoch-(\d+)", path.name))]
    if not numbers:
        raise DamagedStateError("it was half written when its process ended")
    return folder / f"epoch-{max(numbers)}"


def _read(folder: Path) -> KeptProgress:
    try:
        return PROGRESS.validate_json((_newest_epoch(folder) / STATE).read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedStateError(f"{STATE} cannot be read: {type(error).__name__}") from error


def _differences(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    return ", ".join(f"other {name}" for name in expected if found.get(name) != expected[name])


def _look_at_others(states: Path, key: str, fingerprint: Mapping[str, str]) -> None:
    """Say of the newest state of another training that it is not taken; remove the oldest of them."""
    others = [path for path in states.iterdir() if path.is_dir() and path.name != key]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    if others and not (states / key).is_dir():
        try:
            found = _read(others[0])
            logger.info(
                "%d of %d epochs of another training are kept in %s (%s); this one does not resume from them",
                len(found.progress.finished.metrics), sum(found.progress.planned), others[0],
                _differences(found.fingerprint, fingerprint),
            )  # fmt: skip
        except DamagedStateError as error:
            logger.info("the state of another training in %s is not used: %s", others[0], error)
    for path in others[KEPT - 1 :]:
        forget_state(states, path.name)
