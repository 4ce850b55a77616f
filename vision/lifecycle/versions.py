"""Versions: what the lifecycle needs to know of a registered version and of a loaded model."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import keras


class Version(Protocol):
    """A registered version: its number, and the tags that its training and its promotion left."""

    @property
    def number(self) -> str: ...

    @property
    def tags(self) -> Mapping[str, str]: ...


class LoadedVersion(Protocol):
    """A version whose classifier is loaded. It gives probabilities in the order of `class_names`."""

    @property
    def version(self) -> str: ...

    @property
    def classifier(self) -> keras.Model: ...

    @property
    def class_names(self) -> Sequence[str]: ...

    @property
    def megabytes(self) -> float: ...
