"""Tuning: a search over settings with Optuna, resumable, its trials judged on the validation split."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import optuna
import yaml
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from configs.errors import STOPPED_BY_USER, UserError
from configs.loading import change_settings
from configs.settings import ChoiceSpace, NumberSpace, Settings
from vision.data.faces import FaceSet
from vision.reporting.reports import Report
from vision.training import plots
from vision.training.loop import TrainingStoppedError, train_classifier

logger = logging.getLogger(__name__)

STUDY = "study.db"
TRIED, FIRST_PHASE = ("classifier.", "augmentation.", "training."), "training.phases.0."  # what a trial trains with
WITHOUT_EFFECT = {  # on a trial, or on which of them is better
    "training.monitor", "training.cache_gigabytes", "training.distillation.teacher", f"{FIRST_PHASE}epochs",
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


def search_settings(
    faces: FaceSet,
    class_weights: Mapping[str, Mapping[str, float]],
    settings: Settings,
    folder: Path,
    features_folder: Path,
    log_trial: TrialLog,
    teacher: keras.Model | None = None,
) -> TuningReport:
    """Train with settings out of `settings.tuning.space` until enough trials are finished or pruned; report them.

    Trials are kept in `folder`/study.db under a name that follows from faces, settings and space: a search that was
    stopped, however, goes on. `class_weights` are those of each scheme. `log_trial` is called with a trial's number
    and values, and gives a context around its training with a hook for the metrics of every epoch.
    Raises UserError for a path in the space that is unknown or changes no trial and where another process works on the
    same search, and SearchStoppedError on Ctrl-C.
    """
    tuning = settings.tuning
    for path, space in tuning.space.items():
        change_settings(settings, {path: space.choices[0] if isinstance(space, ChoiceSpace) else space.low})
        if not _changes_a_trial(path):
            raise UserError(
                f"tuning.space.{path} would change no trial: each trains the first phase for tuning.epochs, on faces "
                "that are prepared already; give settings of classifier, augmentation, training or training.phases.0"
            )
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = _study_name(faces, settings)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"another run works on the search {name} at this moment; wait until it ends") from error
    study = _open_study(folder, name, settings)
    sign = -1.0 if settings.training.monitor == "val_loss" else 1.0

    def objective(trial: optuna.Trial) -> float:
        values = dict(_suggest(trial, tuning.space))
        tried = change_settings(settings, values)
        training = tried.training.model_copy(update={"phases": (_shortened(tried),)})
        best = -float("inf")
        keras.utils.clear_session()  # or the networks of all trials stay in memory
        with log_trial(trial.number, values) as log_epoch:

            def hook(epoch: int, metrics: Mapping[str, float]) -> None:
                nonlocal best
                log_epoch(epoch, metrics)
                best = max(best, sign * metrics[training.monitor])
                trial.report(sign * metrics[training.monitor], epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

            try:
                train_classifier(
                    faces,
                    class_weights[training.class_weights],
                    tried.classifier,
                    tried.augmentation,
                    training,
                    tried.seed,
                    folder / name / "best.keras",
                    features_folder,
                    hook,
                    teacher,
                )
            except TrainingStoppedError as stop:  # is a UserError, as which it would only end this trial
                raise KeyboardInterrupt from stop
        return best

    started, before = time.monotonic(), _count(study)

    def report_progress(study: optuna.Study, trial: FrozenTrial) -> None:
        done = _count(study)
        left = (time.monotonic() - started) / max(1, done - before) * (tuning.trials - done)
        value = f"{sign * trial.value:.4f}" if trial.value is not None else "no value"
        best = f", best {sign * study.best_value:.4f} (trial {study.best_trial.number})" if _finished(study) else ""
        logger.info(
            "trial %d %s: %s %s%s | %d of %d done, about %.0f min left",
            trial.number, trial.state.name.lower(), settings.training.monitor, value, best, done, tuning.trials,
            left / 60,
        )  # fmt: skip

    try:
        while _count(study) < tuning.trials:
            study.optimize(objective, n_trials=1, catch=(UserError,), callbacks=[report_progress])
            if len(study.trials) >= 2 * tuning.trials and not _finished(study):
                raise UserError(f"{len(study.trials)} trials of {study.study_name} failed; see tuning.space")
    except KeyboardInterrupt as stop:
        kept = f"{_count(study)} of {tuning.trials} trials are kept; the same command goes on with the next"
        raise SearchStoppedError(f"the search was stopped; {kept}") from stop
    finally:
        lock.release()
    return _report(study, settings, sign)


def _changes_a_trial(path: str) -> bool:
    other_phase = path.startswith("training.phases.") and not path.startswith(FIRST_PHASE)
    return path.startswith(TRIED) and not other_phase and path not in WITHOUT_EFFECT


def _study_name(faces: FaceSet, settings: Settings) -> str:
    relevant = settings.model_dump(mode="json", include={"seed", "augmentation", "classifier", "training", "tuning"})
    del relevant["tuning"]["trials"]
    key = hashlib.sha256(json.dumps([faces.fingerprint, relevant], sort_keys=True).encode()).hexdigest()[:10]
    return f"{settings.tracking.model_name}-{key}"


def _open_study(folder: Path, name: str, settings: Settings) -> optuna.Study:
    """Open the study of these faces, settings and space; trials that died with their process count as failed."""
    storage = f"sqlite:///{folder / STUDY}"
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    startup = settings.tuning.startup_trials
    # another seed where a search goes on, or it would draw the values of its first trials again
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=settings.seed + len(study.trials))
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=startup)
    if study.trials:
        logger.info("%s goes on: %d of %d trials are done already", name, _count(study), settings.tuning.trials)
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


def _report(study: optuna.Study, settings: Settings, sign: float) -> TuningReport:
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
