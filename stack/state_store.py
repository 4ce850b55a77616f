"""Unfinished trainings in the artifact store, from which a training on another machine resumes."""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from zenml.client import Client
from zenml.io import fileio

from stack.elsewhere import runs_here
from vision.files.atomic import write_folder
from vision.training.checkpoints import STATE, forget_state

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished"  # folder in the state folder, and in the artifact store


def forget_training(state_folder: Path, key: str) -> None:
    """Remove the state of a training whose model has arrived where it should."""
    if runs_here():
        forget_state(state_folder / UNFINISHED, key)
    else:
        ArtifactStates.of_active_stack().forget(key)


class ArtifactStates:
    """Keeps a copy of a training's newest state below `unfinished/KEY/WRITER` of the artifact store.

    Each process that trains is a writer with a folder of its own, so that two that train the same at one moment never
    write the same file, and none holds a lock that a lost machine would never release.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.writer = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"
        self.sent: dict[str, set[str]] = {}  # by key

    @classmethod
    def of_active_stack(cls) -> "ArtifactStates":
        """Return the states in the active stack's artifact store."""
        return cls(f"{Client().active_stack.artifact_store.path}/{UNFINISHED}")

    def fetch(self, key: str, folder: Path) -> None:
        """Make `folder` of the copy that has come furthest, if there is any."""
        found = max(self._complete(key), default=None)
        if found is None:
            return
        epoch, place = found
        names = [name for name in _files(place) if name.startswith((f"epoch-{epoch}/", "best-"))]
        with write_folder(folder) as unfinished:
            for name in names:
                (unfinished / name).parent.mkdir(exist_ok=True)
                fileio.copy(f"{place}/{name}", str(unfinished / name))
        logger.info("epoch %d of this training was kept in %s", epoch, place)

    def push(self, key: str, folder: Path) -> None:
        """Copy what `folder` has, the part that makes it complete last; remove what it has no more.

        A store that does not take it is logged, and the next epoch tries again: a training does not end for that.
        """
        place = f"{self.root}/{key}/{self.writer}"
        sent = self.sent.setdefault(key, set())
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        try:
            for name in sorted(names - sent, key=lambda name: (name.endswith(STATE), name)):
                fileio.makedirs(f"{place}/{name}".rpartition("/")[0])
                fileio.copy(str(folder / name), f"{place}/{name}", overwrite=True)
                sent.add(name)
            for name in sorted(sent - names, key=lambda name: not name.endswith(STATE)):
                fileio.remove(f"{place}/{name}")
                sent.remove(name)
        except Exception as error:  # noqa: BLE001 - every kind of store has its own
            reason = " ".join(str(error).split())[:200]
            logger.warning("%s does not take the state of this epoch (%s); the next one tries again", place, reason)

    def forget(self, key: str) -> None:
        """Remove every copy of a training whose model has arrived where it should."""
        if fileio.exists(f"{self.root}/{key}"):
            fileio.rmtree(f"{self.root}/{key}")

    def _complete(self, key: str) -> Iterator[tuple[int, str]]:
        """Yield the newest complete epoch of each copy, with the place of the copy."""
        root = f"{self.root}/{key}"
        for writer in map(str, fileio.listdir(root)) if fileio.isdir(root) else []:
            place = f"{root}/{writer.strip('/')}"
            matches = (re.fullmatch(rf"epoch-(\d+)/{re.escape(STATE)}", name) for name in _files(place))
            if epochs := [int(found[1]) for found in matches if found]:
                yield max(epochs), place


def _files(place: str) -> list[str]:
    """Return the files of a copy by their names within it."""
    found = [f"{folder!s}/{name!s}" for folder, _, names in fileio.walk(place) for name in names]
    return [path.removeprefix(place).strip("/") for path in found]
