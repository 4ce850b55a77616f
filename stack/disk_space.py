"""Disk space: what of the state folder can be deleted, because a later run makes it again or nothing needs it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from stack.local_stack import start_lock
from stack.places import UNFINISHED_AUDITS
from stack.relocation import BACKUP
from stack.step_cache import forget_lost_steps
from stack.users_zenml import OWN_ZENML, wants_users_zenml
from vision.files.atomic import UNFINISHED
from vision.files.locks import InUseError, hold_lock

STOPPED = ("unfinished", UNFINISHED_AUDITS, "checkpoints")  # folders of what a stopped training resumes from
OLD_DAYS = 30  # a training that was stopped longer ago is probably not resumed
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Spare:
    """Files and folders that can go, and what their loss means."""

    what: str
    paths: tuple[Path, ...]
    afterwards: str

    @property
    def size(self) -> int:
        """Return the bytes on disk."""
        return sum(path.stat().st_size for path in _files(self.paths))


def check_is_state(folder: Path) -> None:
    """Raise UserError for a folder in which no run of this project kept its state; what is in it is somebody else's."""
    if not (folder / "start.lock").is_file():
        raise UserError(
            f"state_folder {folder} is not the state folder of a run, so nothing in it is looked at or deleted; set "
            "--state_folder to one that is"
        )


@contextmanager
def state_at_rest(state: Path) -> Iterator[None]:
    """Keep runs from starting in the state folder for a block. Raises UserError where one is in progress."""
    with start_lock(state), ExitStack() as held:
        for lock in sorted((state / "temporary").glob("*.lock")):
            try:
                held.enter_context(hold_lock(lock))
            except InUseError as error:
                raise UserError(f"a run is in progress in {state}; wait for its end, or stop it") from error
        yield


def find_spare(state: Path) -> list[Spare]:
    """Return what can go. Models, runs and reports never can. The state must be at rest."""
    stopped = [path for name in STOPPED for path in _children(state / name)]
    old = time.time() - OLD_DAYS * SECONDS_A_DAY
    written = ("features", "fetched", *STOPPED)
    left_over = [path for name in written for path in _left_over(state / name)]
    left_over += sorted(state.rglob(f"*{BACKUP}"))
    return [
        Spare("earlier ZenML artifacts", _unused_artifacts(state), "MLflow keeps the models and figures"),
        Spare("frozen features", _children(state / "features"), "the next training computes them again"),
        Spare("fetched data", _children(state / "fetched"), "the next run fetches them again"),
        Spare("temporary files", (*_children(state / "temporary"), *left_over), "nothing needs them"),
        Spare(
            "trainings stopped long ago",
            tuple(path for path in stopped if path.stat().st_mtime < old),
            f"more than {OLD_DAYS} days; the same command trains from the beginning",
        ),
    ]


def free(state: Path, spare: list[Spare]) -> int:
    """Delete what can go, and return how many bytes that freed. The state must be at rest."""
    before = sum(found.size for found in spare)
    for path in (path for found in spare for path in found.paths):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if _has_own_zenml(state):
        forget_lost_steps([folder.name for folder in _children(state / "artifacts")])
    return before - sum(found.size for found in spare)


def _has_own_zenml(state: Path) -> bool:
    return not wants_users_zenml(state) and (state / OWN_ZENML).is_dir()


def _unused_artifacts(state: Path) -> tuple[Path, ...]:
    """Return the folders of all artifacts but those of the newest run, and of the newest good one, of each pipeline."""
    if not _has_own_zenml(state):
        return ()
    from zenml.client import Client  # late: ZenML reads the environment when it is imported

    client, used = Client(), set()
    for pipeline in client.list_pipelines(size=100).items:
        for status in (None, "completed"):
            newest = client.list_pipeline_runs(pipeline=pipeline.id, status=status, sort_by="desc:created", size=1)
            used |= {Path(uri) for run in newest.items for uri in _artifacts_of(run)}
    folders = (state / "artifacts").glob("*/*/*")  # of a step, of its output, of its run
    return tuple(sorted(folder for folder in folders if folder.is_dir() and not used & {*folder.iterdir()}))


def _artifacts_of(run: Any) -> Iterator[str]:
    for step in run.steps.values():
        yield from (version.uri for versions in step.outputs.values() for version in versions)


def _children(folder: Path) -> tuple[Path, ...]:
    """Return what is in a folder, except locks, links and what was not written to its end."""
    if not folder.is_dir():
        return ()
    return tuple(
        path
        for path in sorted(folder.iterdir())
        if not (path.suffix == ".lock" or path.is_symlink() or path.name.startswith(UNFINISHED))
    )


def _left_over(folder: Path) -> list[Path]:
    """Return what killed processes left half written."""
    return [path for path in sorted(folder.rglob(f"{UNFINISHED}*")) if not path.is_symlink()]


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        yield from (file for file in (path, *path.rglob("*")) if file.is_file() and not file.is_symlink())
