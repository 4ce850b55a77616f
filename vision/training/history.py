"""The course of a training: its finished epochs, which one was kept, and how it may be stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.errors import STOPPED_BY_USER, UserError
from vision.reporting.reports import Report

EpochHook = Callable[[int, Mapping[str, float]], object]  # gets an epoch's number, counted from 1, and its metrics


class TrainingStoppedError(UserError):
    """Ctrl-C in the middle of training."""

    exit_code = STOPPED_BY_USER


@dataclass(frozen=True)
class FinishedEpochs:
    """Each epoch's metrics and its phase's name, over all phases; `best` counts from 1, 0 means none yet."""

    metrics: list[dict[str, float]]
    phases: list[str]
    best: int


@dataclass(frozen=True, kw_only=True)
class TrainingHistory(Report):
    """Every epoch's metrics, and which epoch was kept; `state` names the training among those that can be resumed.

    `planned` is `training.phases` with the epochs that each was to have, `repeatable` says whether operations were
    asked to give the same to the bit. `doubtful_faces` are training faces that counted `doubtful_weight` of the others.
    """

    epochs: list[dict[str, float]]
    phases: list[str]
    monitor: str
    best_epoch: int
    precision: str
    state: str
    repeatable: bool
    planned: list[dict[str, Any]] = field(default_factory=list)
    doubtful_faces: int = 0
    doubtful_weight: float = 1.0

    @property
    def best(self) -> dict[str, float]:
        return self.epochs[self.best_epoch - 1]

    def numbers(self) -> dict[str, float]:
        return {
            "best_epoch": float(self.best_epoch),
            "planned_epochs": float(sum(phase["epochs"] for phase in self.planned)),
            **{f"best_{name}": value for name, value in self.best.items() if name.startswith("val_")},
            "doubtful_faces": float(self.doubtful_faces),
            "training_seconds": sum(epoch["seconds"] for epoch in self.epochs),
        }
