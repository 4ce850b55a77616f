"""A search: trials are trained until enough are done, by one process or by several that share their storage."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from configs.errors import STOPPED_BY_USER, UserError
from configs.tuning_settings import TuningSettings
from vision.training.trial_store import TrialStore, open_trials, without_notes

logger = logging.getLogger(__name__)

DONE = (TrialState.COMPLETE, TrialState.PRUNED)
TAKEN = (*DONE, TrialState.RUNNING)
Train = Callable[[optuna.Trial], float]
AfterTrial = Callable[[optuna.Study, FrozenTrial], None]
WAIT_SECONDS = 5.0  # between two looks at trials that other processes train


class SearchStoppedError(UserError):
    """Ctrl-C in the middle of a search."""

    exit_code = STOPPED_BY_USER


class SurplusTrialError(UserError):
    """Another process began the last trial in the same moment."""


@dataclass(frozen=True)
class Search:
    """An open study and what it asks for; `seed` decides what its trials draw."""

    store: TrialStore
    study: optuna.Study
    tuning: TuningSettings
    seed: int

    @property
    def done(self) -> int:
        """How many trials are finished or pruned."""
        return count(self.study)

    def run(self, train: Train, report: AfterTrial) -> None:
        """Train trials until enough are done here and in the other processes; call `report` after each.

        Optuna's MaxTrialsCallback looks after a trial only, so that of several processes all but one would train one
        too many. Raises SearchStoppedError on Ctrl-C, and UserError where a storage is lost or every trial fails.
        """
        try:
            with self.store.answering():
                for _ in self._turns():
                    self._train_one(train, report)
        except KeyboardInterrupt as stop:
            kept = f"{self.done} of {self.tuning.trials} trials are kept; the same command resumes with the next"
            raise SearchStoppedError(f"the search was stopped; {kept}") from stop

    def _turns(self) -> Iterator[None]:
        """Yield each time that a trial is left to train; wait while others train all that are left."""
        wanted, told = self.tuning.trials, False
        while self.done < wanted:
            self.store.fail_dead(self.study)
            if count(self.study, TAKEN) < wanted:
                told = False
                yield
            else:
                if not told:
                    logger.info("other processes train the last of %d trials; waiting for them", wanted)
                told = True
                time.sleep(WAIT_SECONDS)
            failed = sum(trial.state == TrialState.FAIL for trial in tried_trials(self.study))
            if failed >= 2 * wanted and not count(self.study, (TrialState.COMPLETE,)):
                raise UserError(f"{failed} trials of {self.study.study_name} failed; see tuning.space")

    def _train_one(self, train: Train, report: AfterTrial) -> None:
        with ExitStack() as held:  # until the storage has the result

            def objective(trial: optuna.Trial) -> float:
                held.enter_context(self.store.hold(self.study.study_name, trial.number))
                self._check_turn(trial.number)
                self.study.sampler = self._sampler(trial.number)
                return train(trial)

            try:
                self.study.optimize(objective, n_trials=1, catch=(UserError,), callbacks=[report])
            except UpdateFinishedTrialError:
                logger.warning("a trial of this process was taken for dead, so its result does not count")

    def _check_turn(self, number: int) -> None:
        """Raise SurplusTrialError where enough other trials are done or running.

        Of processes that begin in the same moment the later at least sees the others. A trial's number does not say
        which that is, since one that lost its process is queued again under an old number, and neither do clocks of
        several machines. Where all see each other all give way, for different times.
        """
        others = [other for other in self.study.get_trials(deepcopy=False, states=TAKEN) if other.number != number]
        if len(others) >= self.tuning.trials:
            time.sleep(WAIT_SECONDS * (1 + number % 7) / 7)
            raise SurplusTrialError(f"trial {number} is one more than tuning.trials {self.tuning.trials}")

    def _sampler(self, number: int) -> TPESampler:
        """Return what draws a trial's values; by its number, or processes that start together would draw the same."""
        with without_notes():
            return TPESampler(n_startup_trials=self.tuning.startup_trials, seed=self.seed + number, constant_liar=True)


def open_search(name: str, tuning: TuningSettings, seed: int, folder: Path) -> Search:
    """Open the study of that name where `tuning.storage` says, or in the folder; make it if it is new.

    Raises UserError where the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store = open_trials(tuning.storage, folder)
    with store.answering():
        study = optuna.create_study(
            storage=store.storage,
            study_name=name,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=tuning.startup_trials),
            direction="maximize",
            load_if_exists=True,
        )
        if study.trials:
            logger.info("%s resumes: %d of %d trials are done already", name, count(study), tuning.trials)
    return Search(store, study, tuning, seed)


def count(study: optuna.Study, states: tuple[TrialState, ...] = DONE) -> int:
    """Return how many trials are in one of the states."""
    return len(study.get_trials(deepcopy=False, states=states))


def tried_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that drew their values; the others gave way to another process's, or ended before."""
    return [trial for trial in study.trials if trial.params]
