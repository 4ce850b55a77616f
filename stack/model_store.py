"""The models that MLflow keeps: logging one with what it learned from, and loading it again."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from stack.error_messages import StoreError, talking_to_mlflow
from stack.places import local_path
from stack.registry import REGISTERED, ModelError, RegisteredVersion, find_version
from vision.files.hashes import hash_file
from vision.lifecycle.drift import PROPERTIES
from vision.lifecycle.model_card import shorten_card
from vision.model.classifier import input_side, load_safely, load_teacher
from vision.model.onnx_runtime import ONNX_FILES, Predictor, onnx_predictor
from vision.model.runtimes import KERAS, keras_predictor

SERVED_WITH = ("tensorflow", "keras", "numpy")  # named, because finding out takes MLflow a minute
REFERENCE = "reference/reference.parquet"  # artifact of the version's run
DECISION = "promotion/decision.json"
ONNX = "onnx"  # folder of ONNX_FILES among the artifacts of the version's run
CARD = "model_card"  # .md and .html, artifacts of the version's run
DESCRIPTION_CHARACTERS = 5000  # of a version: its column in MLflow's tables, which SQLite does not enforce
REFERENCE_ROWS = 10_000_000  # as many as dataset.max_images allows
MODELS_IN_MEMORY = 2
_in_memory: dict[str, keras.Model] = {}  # by the SHA-256 of its file, the last used last


@dataclass(frozen=True)
class LoadedModel:
    """A model from the registry: its model (probabilities out), class names and the file that it was loaded from."""

    version: str
    classifier: keras.Model
    class_names: tuple[str, ...]
    file: Path

    @property
    def megabytes(self) -> float:
        return self.file.stat().st_size / 1e6


def load_model(uri: str) -> LoadedModel:
    """Load a model from MLflow in Keras's safe mode. Raises ModelError where it cannot be loaded or says no classes."""
    try:
        with talking_to_mlflow():
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        described = mlflow.models.Model.load(str(folder))
        files = [*folder.rglob("*.keras")]
        if len(files) != 1:
            raise ModelError(f"the model {uri} has {len(files)} .keras files, expected one; no other form is loaded")
        # not mlflow.tensorflow.load_model: it would also run code and unpickle from a model that others logged
        file, classifier = files[0], _load_once(files[0])
        class_names = tuple((described.metadata or {})["class_names"])
    except (ModelError, StoreError):
        raise
    except KeyError as error:
        reason = "does not say its class names, so this pipeline did not make it"
        raise ModelError(f"the model {uri} {reason}") from error
    except Exception as error:  # MLflow, Keras, h5py and the disk each raise their own
        if place := _lost_place(uri):
            raise ModelError(f"the files of the model {uri} are gone: {place} is missing or empty") from error
        raise ModelError(f"the model {uri} cannot be loaded: {type(error).__name__}: {error}") from error
    version = uri.rsplit("/", 1)[-1] if uri.startswith("models:/") else uri
    return LoadedModel(version, classifier, class_names, file)


def _load_once(file: Path) -> keras.Model:
    """Load a .keras file in safe mode, or return what a file of the same content was loaded as.

    Several steps of a run load champion and challenger, and each loading costs seconds of building and tracing.
    """
    digest = hash_file(file)
    classifier = _in_memory.pop(digest, None) or load_safely(file)
    _in_memory[digest] = classifier
    for oldest in list(_in_memory)[:-MODELS_IN_MEMORY]:
        del _in_memory[oldest]
    return classifier


def _lost_place(uri: str) -> Path | None:
    """Return the folder on this machine where MLflow has the files of a registered version, if none is there."""
    name, _, version = uri.removeprefix("models:/").partition("/")
    try:
        place = local_path(mlflow.MlflowClient().get_model_version_download_uri(name, version))
    except MlflowException:  # not a registered version
        return None
    return place if place and not any(path.is_file() for path in place.rglob("*")) else None


def find_teachers(teachers: Sequence[str]) -> tuple[tuple[keras.Model, ...], list[pd.DataFrame]]:
    """Return the classifiers that training.distillation.teacher names, in the registry or as files, and references.

    A file has no reference.
    """
    registered = [teacher for teacher in teachers if teacher.startswith(REGISTERED)]
    found = tuple(load_model(one).classifier if one in registered else load_teacher(one) for one in teachers)
    return found, [load_reference(find_version(one)) for one in registered]


def load_predictor(model: LoadedModel, uri: str, runtime: str) -> Predictor:
    """Return the predictor of a model that was loaded from `uri`, of a runtime that inference.runtime names.

    Raises UserError where the version has no ONNX file for it, or one that cannot be used.
    """
    if runtime == KERAS:
        return keras_predictor(model.classifier)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            file = fetch(find_version(uri), f"{ONNX}/{ONNX_FILES[runtime]}", temporary)
        except ModelError as error:
            raise ModelError(f"inference.runtime {runtime}: {error}; set another runtime, such as keras") from error
        return onnx_predictor(file, input_side(model.classifier), len(model.class_names))


def log_classifier(classifier: keras.Model, class_names: Sequence[str], name: str) -> str:
    """Log a model that gives probabilities with signature and example, register it, and return models:/NAME/VERSION.

    The example is a grey square: nobody's face.
    """
    side = input_side(classifier)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, 1))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(class_names)))]),
    )
    with talking_to_mlflow():
        logged = mlflow.tensorflow.log_model(
            classifier,
            name="model",
            signature=signature,
            input_example=np.full((1, side, side, 1), 128, dtype=np.float32),
            registered_model_name=name,
            pip_requirements=[f"{package}=={installed_version(package)}" for package in SERVED_WITH],
            metadata={"class_names": list(class_names), "input": "grey levels 0-255, float32, (n, height, width, 1)"},
        )
        version = str(logged.registered_model_version)
        mlflow.set_tag("model_version", version)
    return f"models:/{name}/{version}"


def describe_by_card(name: str, version: str, card: str) -> None:
    """Make a model card, which is an artifact of the version's run, the description of a registered version."""
    with talking_to_mlflow():
        shown = shorten_card(card, DESCRIPTION_CHARACTERS, f"{CARD}.md among the artifacts of this version's run")
        mlflow.MlflowClient().update_model_version(name, version, description=shown)


def log_reference(reference: pd.DataFrame) -> None:
    """Log to the MLflow run what its model learned from."""
    with tempfile.TemporaryDirectory() as temporary, talking_to_mlflow():
        path = Path(temporary, Path(REFERENCE).name)
        reference.to_parquet(path, index=False)
        mlflow.log_artifact(str(path), Path(REFERENCE).parent.as_posix())


def fetch(version: RegisteredVersion, artifact: str, folder: str | None = None) -> Path:
    """Return a copy of an artifact of the version's run, in `folder` or where MLflow puts it.

    Raises ModelError where it cannot be read, and StoreError.
    """
    try:
        with talking_to_mlflow():
            return Path(
                mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path=artifact, dst_path=folder)
            )
    except (MlflowException, OSError) as error:
        raise ModelError(f"{version.name} version {version.number} has no readable {artifact}: {error}") from error


def fetch_onnx(version: RegisteredVersion, folder: Path) -> None:
    """Put the ONNX files that the version's run has into a folder."""
    with talking_to_mlflow():
        files = mlflow.MlflowClient().list_artifacts(version.run_id, ONNX)
    for file in files:
        if (name := Path(file.path).name) in ONNX_FILES.values():
            fetch(version, file.path, str(folder)).replace(folder / name)


def load_reference(version: RegisteredVersion) -> pd.DataFrame:
    """Return what reference_table wrote of the version's training. Raises ModelError without it."""
    return read_reference(fetch(version, REFERENCE))


def read_reference(file: Path) -> pd.DataFrame:
    """Read a reference. Raises ModelError where the file does not hold one."""
    try:
        if (rows := pq.read_metadata(file).num_rows) > REFERENCE_ROWS:  # they may be packed into a few bytes
            raise ModelError(f"{file.name} has {rows} rows, allowed: {REFERENCE_ROWS}")
        reference = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file.name} cannot be read: {error}") from error
    if missing := {"split", "exact_hash", *PROPERTIES} - set(reference.columns):
        raise ModelError(f"{file.name} lacks the columns {', '.join(sorted(missing))}")
    return reference
