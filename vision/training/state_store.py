"""What keeps copies of the states of trainings where other machines find them."""

from pathlib import Path
from typing import Protocol


class StateStore(Protocol):
    """Copies of states, by the key of the training."""

    def fetch(self, key: str, folder: Path) -> None:
        """Make `folder` of the copy that has come furthest, if there is any."""

    def push(self, key: str, folder: Path) -> None:
        """Keep a copy of what `folder` has now."""
