"""The model that answers: an ONNX file that was read, verified and warmed up, and what is known of it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from configs.errors import UserError
from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.model.onnx_runtime import Predictor, predictor_of

Array = np.ndarray[Any, Any]
THREADS = 1  # of ONNX Runtime in each worker: requests are answered in parallel already
SUM_ERROR = 1e-3
REGISTRY, RELEASED, BUNDLE = "registry", "released", "bundle"  # where a model may come from


class UnusableModelError(UserError):
    """A model that cannot answer; whatever answered before still does."""


@dataclass(frozen=True)
class ModelFacts:
    """What the page says of a model; None where it is not known. `previous` has `version` and `metrics`."""

    since: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None
    previous: Mapping[str, Any] | None = None
    card: str | None = None
    mlflow: str | None = None


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file as it was read, and what it is called. `described` says it in messages."""

    name: str
    version: str
    source: str
    content: bytes
    class_names: Sequence[str]

    @property
    def described(self) -> str:
        return f"{self.name} version {self.version} ({self.source})"


@dataclass(frozen=True)
class ServedModel:
    """A model that answers; it does not change, and requests that began with it end with it."""

    name: str
    version: str
    sha256: str
    source: str
    class_names: tuple[str, ...]
    predictor: Predictor
    facts: ModelFacts

    @property
    def identity(self) -> dict[str, str]:
        """What an answer says of the model."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256, "source": self.source}


def load_model(file: ModelFile, facts: ModelFacts, batch_size: int) -> ServedModel:
    """Load an ONNX file, see that it answers drawn faces with probabilities, and warm it up for `batch_size`.

    Raises UnusableModelError.
    """
    names = tuple(file.class_names)
    try:
        predictor = predictor_of(file.content, f"the ONNX file of {file.described}", None, len(names), THREADS)
    except UserError as error:
        raise UnusableModelError(str(error)) from error
    random = np.random.default_rng(0)
    faces = np.stack([draw_face(expression, predictor.side, 0.0, random) for expression in EXPRESSIONS.values()])
    try:
        answers = [predictor.predict(part, batch_size) for part in (faces, faces[:1], faces.repeat(10, axis=0))]
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise UnusableModelError(f"{file.described} cannot answer: {str(error).splitlines()[0]}") from error
    for found in answers:
        if not np.isfinite(found).all() or found.min() < 0 or np.abs(found.sum(axis=1) - 1).max() > SUM_ERROR:
            raise UnusableModelError(f"{file.described} does not answer with probabilities that sum to 1")
    sha256 = hashlib.sha256(file.content).hexdigest()
    return ServedModel(file.name, file.version, sha256, file.source, names, predictor, facts)
