"""Tuning: a search over settings with Optuna, resumable, its trials judged on the validation split."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from configs.errors import STOPPED_BY_USER, UserError
from configs.loading import change_settings
from configs.settings import ChoiceSpace, NumberSpace, Settings
from vision.data.faces import FaceSet
from vision.files.hashes import hash_facts
from vision.files.locks import InUseError, hold_lock
from vision.reporting.reports import Report
from vision.training import plots
from vision.training.history import TrainingStoppedError
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

logger = logging.getLogger(__name__)

STUDY = "study.db"
TRIED, FIRST_PHASE = ("classifier.", "augmentation.", "training."), "training.phases.0."  # what a trial trains with
WITHOUT_EFFECT = {  # on a trial, or on which of them is better
    "training.monitor", "training.cache_gigabytes", "training.distillation.teacher", f"{FIRST_PHASE}epochs",
    "training.minutes",
}  # fmt: skip
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
TrialLog = Callable[[int, dict[str, Any]], AbstractContextManager[Callable[[int, Mapping[str, float]], object]]]


class SearchStoppedError(UserError):
    """Ctrl-C in the middle of a search."""

    exit_code = STOPPED_BY_USER


@dataclass(frozen=True, kw_only=True)
class TuningReport(Report):
    """Every trial: its number, state, best value of the monitored metric, seconds and values; and the best of all."""

    study: str
    monitor: str
    trials: list[dict[str, Any]]
    best: dict[str, Any]
    overlay: dict[str, Any]

    def numbers(self) -> dict[str, float]:
        states = [trial["state"] for trial in self.trials]
        counts = {f"tuning/{state}": float(states.count(state)) for state in ("complete", "pruned", "fail")}
        return {**counts, f"tuning/best_{self.monitor}": float(self.best["value"])}

    def yaml(self) -> str:
        """Return the best trial's settings as a file for --config."""
        head = f"# Found by --pipeline tuning: trial {self.best['number']}, {self.monitor} {self.best['value']:.4f}\n"
        return head + yaml.safe_dump(self.overlay, sort_keys=False)


@dataclass(frozen=True)
class SearchPlaces:
    """A search's folder, with study.db and the best epoch of each search, and the folder of frozen features."""

    folder: Path
    features: Path


@dataclass(frozen=True)
class SearchData:
    """What each trial learns from: prepared faces, the class weights of each scheme, and perhaps teachers."""

    faces: FaceSet
    class_weights: Mapping[str, Mapping[str, float]]
    teachers: tuple[keras.Model, ...] = ()


def search_settings(data: SearchData, settings: Settings, places: SearchPlaces, log_trial: TrialLog) -> TuningReport:
    """Train with settings out of `settings.tuning.space` until enough trials are finished or pruned; report them.

    Trials are kept under a name that follows from faces, settings and space: a search that was stopped, in whatever
    way, resumes. `log_trial` is called with a trial's number and values, and gives a context around its training with
    a hook for the metrics of every epoch.
    Raises UserError for a path in the space that is unknown or changes no trial and where another process works on the
    same search, and SearchStoppedError on Ctrl-C.
    """
    _check_space(settings)
    places.folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = _study_name(data.faces, settings)
    with ExitStack() as lock:
        try:
            lock.enter_context(hold_lock(places.folder / f"{name}.lock"))
        except InUseError as error:
            raise UserError(f"another run works on the search {name} at this moment; wait until it ends") from error
        study = _open_study(places.folder, name, settings)
        _run_trials(study, partial(_train_trial, data, settings, places, log_trial), settings)
    return _report(study, settings)


def _check_space(settings: Settings) -> None:
    for path, space in settings.tuning.space.items():
        change_settings(settings, {path: space.choices[0] if isinstance(space, ChoiceSpace) else space.low})
        if not _changes_a_trial(path):
            raise UserError(
                f"tuning.space.{path} would change no trial: each trains the first phase for tuning.epochs, on faces "
                "that are prepared already; give settings of classifier, augmentation, training or training.phases.0"
            )


def _run_trials(study: optuna.Study, train: Callable[[optuna.Trial], float], settings: Settings) -> None:
    tuning = settings.tuning
    report = _ProgressReport(settings, time.monotonic(), _count(study))
    try:
        while _count(study) < tuning.trials:
            study.optimize(train, n_trials=1, catch=(UserError,), callbacks=[report])
            if len(study.trials) >= 2 * tuning.trials and not _finished(study):
                raise UserError(f"{len(study.trials)} trials of {study.study_name} failed; see tuning.space")
    except KeyboardInterrupt as stop:
        kept = f"{_count(study)} of {tuning.trials} trials are kept; the same command resumes with the next"
        raise SearchStoppedError(f"the search was stopped; {kept}") from stop


def _train_trial(
    data: SearchData, settings: Settings, places: SearchPlaces, log_trial: TrialLog, trial: optuna.Trial
) -> float:
    """Train with values that Optuna suggests; return the best value of the metric, larger is better."""
    values = dict(_suggest(trial, settings.tuning.space))
    tried = change_settings(settings, values)
    training = tried.training.model_copy(update={"phases": (_shortened(tried),), "minutes": 0.0})
    sign, found = _sign(training.monitor), [-float("inf")]
    keras.utils.clear_session()  # or the networks of all trials stay in memory
    with log_trial(trial.number, values) as log_epoch:

        def hook(epoch: int, metrics: Mapping[str, float]) -> None:
            log_epoch(epoch, metrics)
            found.append(sign * metrics[training.monitor])
            trial.report(found[-1], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        checkpoint = places.folder / trial.study.study_name / "best.keras"
        try:
            train_classifier(
                TrainingData(data.faces, data.class_weights[training.class_weights], data.teachers),
                Recipe(tried.classifier, tried.augmentation, training, tried.seed),
                TrainingPaths(checkpoint, places.features),
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
        done, trials, monitor = _count(study), self.settings.tuning.trials, self.settings.training.monitor
        left = (time.monotonic() - self.started) / max(1, done - self.before) * (trials - done)
        value = f"{_sign(monitor) * trial.value:.4f}" if trial.value is not None else "no value"
        best = ""
        if _finished(study):
            best = f", best {_sign(monitor) * study.best_value:.4f} (trial {study.best_trial.number})"
        logger.info(
            "trial %d %s: %s %s%s | %d of %d done, about %.0f min left",
            trial.number, trial.state.name.lower(), monitor, value, best, done, trials, left / 60,
        )  # fmt: skip


def _sign(monitor: str) -> float:
    """Return what makes a metric one of which more is better."""
    return -1.0 if monitor == "val_loss" else 1.0


def _changes_a_trial(path: str) -> bool:
    other_phase = path.startswith("training.phases.") and not path.startswith(FIRST_PHASE)
    return path.startswith(TRIED) and not other_phase and path not in WITHOUT_EFFECT


def _study_name(faces: FaceSet, settings: Settings) -> str:
    relevant = settings.model_dump(mode="json", include={"seed", "augmentation", "classifier", "training", "tuning"})
    del relevant["tuning"]["trials"]
    return f"{settings.tracking.model_name}-{hash_facts([faces.fingerprint, relevant])[:10]}"


def _open_study(folder: Path, name: str, settings: Settings) -> optuna.Study:
    """Open the study of these faces, settings and space; trials that died with their process count as failed."""
    storage = f"sqlite:///{folder / STUDY}"
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    startup = settings.tuning.startup_trials
    # another seed where a search resumes, or it would draw the values of its first trials again
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=settings.seed + len(study.trials))
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=startup)
    if study.trials:
        logger.info("%s resumes: %d of %d trials are done already", name, _count(study), settings.tuning.trials)
    return study


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


def _count(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=COUNTED))


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
        for trial in study.trials
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
        overlay=_overlay(change_settings(settings, values), values),
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
