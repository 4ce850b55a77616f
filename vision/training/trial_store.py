"""Where the trials of a search are kept: SQLite, a journal file or PostgreSQL; and which have lost their process."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from configs.environment import shown_address
from configs.errors import UserError
from vision.files.locks import InUseError, hold_lock

logger = logging.getLogger(__name__)

DATABASE = "study.db"
HEARTBEAT_SECONDS, DEAD_AFTER_SECONDS = 20, 60  # on a server; a file has locks, which go at once
STARTING = timedelta(seconds=10)  # from a trial's first line in a file until its lock is held
CONNECT_SECONDS = 20
JOURNAL_LINE = 10_000  # bytes


@dataclass(frozen=True)
class TrialStore:
    """An open storage. Beside a file lie `locks`, one for each trial in training; a server has heartbeats instead."""

    storage: BaseStorage
    shown: str
    locks: Path | None

    def hold(self, study: str, number: int) -> AbstractContextManager[None]:
        """Return what says that a trial is being trained, for as long as it is."""
        return nullcontext() if self.locks is None else _hold_and_remove(self._lock(self.locks, study, number))

    def fail_dead(self, study: optuna.Study) -> None:
        """Mark the running trials whose process has ended as failed, and queue each once more."""
        with without_notes():
            if self.locks is None:
                optuna.storages.fail_stale_trials(study)
                return
            once_more = RetryHeartbeatStaleTrialCallback(max_retry=1)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if trial.datetime_start and datetime.now() - trial.datetime_start < STARTING:
                continue
            try:
                with _hold_and_remove(self._lock(self.locks, study.study_name, trial.number)):
                    if study.trials[trial.number].state == TrialState.RUNNING:  # it may just have ended
                        study.tell(trial.number, state=TrialState.FAIL)
                        once_more(study, trial)
            except InUseError:
                continue

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Raise UserError where a server stops answering in the block."""
        try:
            yield
        except Exception as error:
            if self.locks is None and _is_lost(error):
                raise UserError(
                    f"tuning.storage {self.shown} does not answer any more; finished trials are kept there, and the "
                    "same command resumes once it answers"
                ) from error
            raise

    @staticmethod
    def _lock(locks: Path, study: str, number: int) -> Path:
        return locks / f"{study}-{number}.lock"


def open_trials(storage: str | None, folder: Path) -> TrialStore:
    """Open what `tuning.storage` names, or the SQLite file in the search's folder.

    Raises UserError where a server does not answer or its driver is missing, and where a file cannot be used.
    """
    with without_notes():
        if storage is None:
            file = folder / DATABASE
            file.parent.mkdir(parents=True, exist_ok=True)
            return TrialStore(RDBStorage(f"sqlite:///{file}"), str(file), _locks_beside(file))
        return _open_server(storage) if "://" in storage else _open_journal(Path(storage))


def _open_server(address: str) -> TrialStore:
    if importlib.util.find_spec("psycopg2") is None:
        raise UserError(
            f"tuning.storage {shown_address(address)} needs the package psycopg2; install it with "
            "`pip install -e '.[postgresql]'` or `make setup-servers`"
        )
    try:
        storage = RDBStorage(
            address,
            {"connect_args": {"connect_timeout": CONNECT_SECONDS}, "pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=DEAD_AFTER_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=1),
        )
    except Exception as error:
        if not _is_lost(error):
            raise
        raise UserError(
            f"tuning.storage {shown_address(address)} cannot be used ({_reason(error)}); start the server, or correct "
            "the address, PGUSER or PGPASSWORD"
        ) from error
    return TrialStore(storage, shown_address(address), None)


def _open_journal(file: Path) -> TrialStore:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        with file.open("rb") as content:
            if (line := content.readline(JOURNAL_LINE)) and b'"op_code"' not in line:
                raise UserError(f"tuning.storage {file} is not a journal of Optuna; name another file, or a new one")
        return TrialStore(JournalStorage(JournalFileBackend(str(file))), str(file), _locks_beside(file))
    except OSError as error:
        raise UserError(f"tuning.storage {file} cannot be written ({error.strerror}); name another file") from error
    except (ValueError, KeyError) as error:  # of a line of the journal
        raise UserError(f"tuning.storage {file} is damaged ({error}); name a new file, or put back a copy") from error


def _locks_beside(file: Path) -> Path:
    locks = Path(f"{file}.running")
    locks.mkdir(exist_ok=True)
    return locks


@contextmanager
def _hold_and_remove(lock: Path) -> Iterator[None]:
    with hold_lock(lock):
        yield
    lock.unlink(missing_ok=True)


def _is_lost(error: BaseException | None) -> bool:
    """Say whether an error came from a server that does not answer, refuses us or lacks the database."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    while error is not None:  # Optuna hides it behind errors of its own
        if isinstance(error, InterfaceError | OperationalError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: Exception) -> str:
    """Return the driver's last line, which has no login: what stands before it repeats the address."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split())[-200:]


@contextmanager
def without_notes() -> Iterator[None]:
    """Leave out what Optuna warns of its experimental parts: heartbeats, their callback and the constant liar."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
