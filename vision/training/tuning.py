"""Tuning: a search over settings with Optuna, resumable, its trials judged on the validation split."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from configs.errors import UserError
from configs.loading import change_settings, find_changed, merge
from configs.settings import Settings
from configs.tuning_settings import ChoiceSpace, NumberSpace
from vision.data.faces import FaceSet
from vision.files.hashes import hash_facts
from vision.model.weight_files import IMAGENET, weights_hash
from vision.reporting.reports import Report
from vision.training import plots
from vision.training.class_weights import weigh_classes
from vision.training.devices import clear_session
from vision.training.duration import say_seconds
from vision.training.fingerprint import hash_computation, hash_faces, hash_weights
from vision.training.history import TrainingStoppedError
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths
from vision.training.search import count, open_search, tried_trials

logger = logging.getLogger(__name__)

TRIED, FIRST_PHASE = ("classifier.", "augmentation.", "training."), "training.phases.0."  # what a trial trains with
WITHOUT_EFFECT = {  # on a trial, or on which of them is better
    "training.monitor", "training.cache_gigabytes", "training.distillation.teacher", f"{FIRST_PHASE}epochs",
    "training.minutes", "training.calibration",
}  # fmt: skip
CHANGES_LOSS = {  # and with it val_loss, whatever a trial answers
    "training.imbalance", "training.focal_gamma", "training.logit_adjustment", "training.label_smoothing",
    "classifier.l2", "classifier.dense_units",
}  # fmt: skip
INSIDE = 0.3183  # of a range: where it is tried beside its ends, by no whole number
NOT_SEARCHED = ("trials", "storage")  # how many trials and where they are kept: another value is the same search
OF_OTHERS = {"tuning", "audit", "monitoring", "retraining", "rollback", "bundle", "serving", "alerts"}  # sections
STATES = ("complete", "pruned", "fail", "running")
TrialLog = Callable[[int, dict[str, Any]], AbstractContextManager[Callable[[int, Mapping[str, float]], object]]]


@dataclass(frozen=True, kw_only=True)
class TuningReport(Report):
    """Every trial: its number, state, best value of the monitored metric, seconds and values; and the best of all.

    `overlay` are the settings of the search that are not the usual ones, with the best trial's values.
    """

    study: str
    monitor: str
    trials: list[dict[str, Any]]
    best: dict[str, Any]
    overlay: dict[str, Any]

    def numbers(self) -> dict[str, float]:
        states = [trial["state"] for trial in self.trials]
        counts = {f"tuning/{state}": float(states.count(state)) for state in STATES}
        return {**counts, f"tuning/best_{self.monitor}": float(self.best["value"])}

    def yaml(self) -> str:
        """Return the best trial's settings as a file for --config."""
        head = f"# Found by --pipeline tuning: trial {self.best['number']}, {self.monitor} {self.best['value']:.4f}\n"
        return head + yaml.safe_dump(self.overlay, sort_keys=False)


@dataclass(frozen=True)
class SearchPlaces:
    """A search's folder, with its trials where tuning.storage names no other place, and that of frozen features."""

    folder: Path
    features: Path


@dataclass(frozen=True)
class SearchData:
    """What each trial learns from: prepared faces, and perhaps teachers."""

    faces: FaceSet
    teachers: tuple[keras.Model, ...] = ()


def search_settings(data: SearchData, settings: Settings, places: SearchPlaces, log_trial: TrialLog) -> TuningReport:
    """Train with settings out of `settings.tuning.space` until enough trials are finished or pruned; report them.

    Trials are kept under a name that follows from faces, settings and space: a search that was stopped, in whatever
    way, resumes, and several processes share its trials. `log_trial` is called with a trial's number and values, and
    gives a context around its training with a hook for the metrics of every epoch.
    Raises UserError for a storage that cannot be used, and SearchStoppedError on Ctrl-C.
    """
    search = open_search(study_name(data, settings), settings.tuning, settings.seed, places.folder)
    report = _ProgressReport(settings, time.monotonic(), search.done)
    search.run(partial(_train_trial, data, settings, places, log_trial), report)
    with search.store.answering():
        return _report(search.study, settings)


def check_space(settings: Settings) -> None:
    """Raise UserError for a path in the space that is unknown, changes no trial or has values that none can have, and
    where the monitored metric cannot tell which of two trials is better.
    """
    for path, space in settings.tuning.space.items():
        for value in _some_values(space):
            try:
                change_settings(settings, {path: value})
            except UserError as error:
                whole = "; for whole numbers give choices" if isinstance(space, NumberSpace) else ""
                raise UserError(f"tuning.space.{path} has values that no trial can have: {error}{whole}") from error
        if not _changes_a_trial(path):
            raise UserError(
                f"tuning.space.{path} would change no trial: each trains the first phase for tuning.epochs, on faces "
                "that are prepared already; give settings of classifier, augmentation, training or training.phases.0"
            )
        if settings.training.monitor == "val_loss" and path in CHANGES_LOSS:
            raise UserError(
                f"training.monitor val_loss cannot compare trials of tuning.space.{path}, which changes the loss "
                "itself; monitor val_accuracy or val_macro_f1, or leave it out of the space"
            )


def _some_values(space: NumberSpace | ChoiceSpace) -> tuple[Any, ...]:
    if isinstance(space, ChoiceSpace):
        return space.choices
    return space.low, space.high, space.low + INSIDE * (space.high - space.low)


def _train_trial(
    data: SearchData, settings: Settings, places: SearchPlaces, log_trial: TrialLog, trial: optuna.Trial
) -> float:
    """Train with values that Optuna suggests; return the best value of the metric, larger is better."""
    values = dict(_suggest(trial, settings.tuning.space))
    tried = change_settings(settings, values)
    training = tried.training.model_copy(update={"phases": (_shortened(tried),), "minutes": 0.0})
    sign, found = _sign(training.monitor), [-float("inf")]
    clear_session()  # or the networks of all trials stay in memory
    with log_trial(trial.number, values) as log_epoch:

        def hook(epoch: int, metrics: Mapping[str, float]) -> None:
            log_epoch(epoch, metrics)
            found.append(sign * metrics[training.monitor])
            trial.report(found[-1], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        with TemporaryDirectory() as folder:
            try:
                train_classifier(
                    TrainingData(data.faces, weigh_classes(data.faces, training, settings.balance), data.teachers),
                    Recipe(tried.classifier, tried.augmentation, training, tried.seed),
                    TrainingPaths(Path(folder, "best.keras"), places.features),
                    hook,
                )
            except TrainingStoppedError as stop:  # is a UserError, as which it would only end this trial
                raise KeyboardInterrupt from stop
    return max(found)


@dataclass(frozen=True)
class _ProgressReport:
    """Logs each trial, and how long the others take; `before` trials were done when the search `started`."""

    settings: Settings
    started: float
    before: int

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        done, trials, monitor = count(study), self.settings.tuning.trials, self.settings.training.monitor
        left = (time.monotonic() - self.started) / max(1, done - self.before) * (trials - done)
        value = f"{_sign(monitor) * trial.value:.4f}" if trial.value is not None else "no value"
        best = ""
        if _finished(study):
            best = f", best {_sign(monitor) * study.best_value:.4f} (trial {study.best_trial.number})"
        logger.info(
            "trial %d %s: %s %s%s | %d of %d done%s",
            trial.number, trial.state.name.lower(), monitor, value, best, done, trials,
            f", {say_seconds(left)} left" if left else "",
        )  # fmt: skip


def _sign(monitor: str) -> float:
    """Return what makes a metric one of which more is better."""
    return -1.0 if monitor == "val_loss" else 1.0


def _changes_a_trial(path: str) -> bool:
    other_phase = path.startswith("training.phases.") and not path.startswith(FIRST_PHASE)
    return path.startswith(TRIED) and not other_phase and path not in WITHOUT_EFFECT


def study_name(data: SearchData, settings: Settings) -> str:
    """Return the name of a search, by what decides how its trials go."""
    sections = {"seed", "balance", "augmentation", "classifier", "training", "tuning"}
    relevant = settings.model_dump(mode="json", include=sections)
    relevant["tuning"] = {name: value for name, value in relevant["tuning"].items() if name not in NOT_SEARCHED}
    if settings.classifier.weights != IMAGENET:
        relevant["classifier"]["weights"] = weights_hash(settings.classifier.weights)
    teachers = [hash_weights(teacher) for teacher in data.teachers]
    facts = [hash_faces(data.faces, with_doubts=True), relevant, teachers, hash_computation()]
    return f"{settings.tracking.model_name}-{hash_facts(facts)[:10]}"


def _suggest(trial: optuna.Trial, space: Mapping[str, NumberSpace | ChoiceSpace]) -> Iterator[tuple[str, Any]]:
    for path, bounds in space.items():
        if isinstance(bounds, NumberSpace):
            yield path, trial.suggest_float(path, bounds.low, bounds.high, log=bounds.log)
        else:  # by its JSON, since Optuna's storage takes no lists
            choices = [json.dumps(choice) for choice in bounds.choices]
            yield path, json.loads(trial.suggest_categorical(path, choices))


def _shortened(settings: Settings) -> Any:
    if not settings.training.phases:
        raise UserError("training.phases is empty, so there is nothing to tune")
    first, epochs = settings.training.phases[0], settings.tuning.epochs
    return first.model_copy(update={"epochs": epochs, "warmup_epochs": min(first.warmup_epochs, epochs)})


def _finished(study: optuna.Study) -> bool:
    return bool(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _values(trial: FrozenTrial) -> dict[str, Any]:
    return {path: json.loads(value) if isinstance(value, str) else value for path, value in trial.params.items()}


def _report(study: optuna.Study, settings: Settings) -> TuningReport:
    sign = _sign(settings.training.monitor)
    trials: list[dict[str, Any]] = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": None if trial.value is None else sign * trial.value,
            "epochs": len(trial.intermediate_values),
            "seconds": trial.duration.total_seconds() if trial.duration else 0.0,
            "values": _values(trial),
        }
        for trial in tried_trials(study)
    ]
    if not _finished(study):
        raise UserError(f"all {len(trials)} trials of {study.study_name} were pruned; raise tuning.startup_trials")
    values = _values(study.best_trial)
    space = settings.tuning.space
    logarithmic = {path for path, bounds in space.items() if isinstance(bounds, NumberSpace) and bounds.log}
    return TuningReport(
        study=study.study_name,
        monitor=settings.training.monitor,
        trials=trials,
        best={"number": study.best_trial.number, "value": sign * study.best_value, "values": values},
        overlay=merge(find_changed(settings, OF_OTHERS), _overlay(change_settings(settings, values), values)),
        figures={"trials.png": plots.trials(trials, settings.training.monitor, logarithmic)},
    )


def _overlay(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changed settings as sections; of a list, which YAML files replace as a whole, all entries."""
    dumped = settings.model_dump(mode="json")
    overlay: dict[str, Any] = {}
    for path in values:
        place, source = overlay, dumped
        *sections, field = path.split(".")
        for position, section in enumerate(sections):
            if isinstance(source[section], list):
                place[section] = source[section]
                break
            place, source = place.setdefault(section, {}), source[section]
            if position == len(sections) - 1:
                place[field] = source[field]
    return overlay
