"""The registry that the steps share: MLflow's versions and aliases of the model, mirrored as ZenML stages."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from filelock import FileLock
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from zenml.client import Client
from zenml.enums import ModelStages
from zenml.exceptions import EntityExistsError

from configs.errors import UserError
from vision.lifecycle.drift import PROPERTIES
from vision.model.classifier import input_side, load_safely, load_teacher
from vision.model.runtimes import KERAS, ONNX_FILES, Predictor, keras_predictor, onnx_predictor

logger = logging.getLogger(__name__)

SERVED_WITH = ("tensorflow", "keras", "numpy")  # named, because finding out takes MLflow a minute
CHAMPION, CHALLENGER = "champion", "challenger"
PROMOTED_AT, PREVIOUS = "promoted_at", "previous_champion"
STAGES = {CHAMPION: ModelStages.PRODUCTION, CHALLENGER: ModelStages.STAGING}
REFERENCE = "reference/reference.parquet"  # artifact of the version's run
DECISION = "promotion/decision.json"
ONNX = "onnx"  # folder of ONNX_FILES among the artifacts of the version's run
CARD = "model_card"  # .md and .html, artifacts of the version's run
REFERENCE_ROWS = 10_000_000  # as many as dataset.max_images allows
LOCK = "champion.lock"  # in the state folder


class ModelError(UserError):
    """A registered model that cannot be used; what it was needed for does not happen."""


class ChampionMovedError(ModelError):
    """Another run moved the alias meanwhile."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model, and the MLflow run that it came from."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, found: ModelVersion) -> "RegisteredVersion":
        """Take over what MLflow says; its number is an integer from some stores."""
        return cls(found.name, str(found.version), str(found.run_id), dict(found.tags))

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.number}"


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


def find_alias(name: str, alias: str) -> RegisteredVersion | None:
    """Return the version that holds the alias, or None; an unreachable store raises."""
    try:
        return RegisteredVersion.of(mlflow.MlflowClient().get_model_version_by_alias(name, alias))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def champion_of(name: str) -> RegisteredVersion:
    """Return the champion. Raises ModelError where there is none."""
    found = find_alias(name, CHAMPION)
    if found is None:
        raise ModelError(
            f"{name} has no champion; train one with --pipeline training, or bring one with --pipeline import"
        )
    return found


def find_version(uri: str) -> RegisteredVersion:
    """Return the registered version that models:/NAME/VERSION means. Raises ModelError for any other URI."""
    name, _, version = uri.removeprefix("models:/").partition("/")
    try:
        return RegisteredVersion.of(mlflow.MlflowClient().get_model_version(name, version))
    except MlflowException as error:
        raise ModelError(f"{uri} is no registered version; expected models:/NAME/VERSION") from error


def load_model(uri: str) -> LoadedModel:
    """Load a model from MLflow in Keras's safe mode. Raises ModelError where it cannot be loaded or says no classes."""
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
        described = mlflow.models.Model.load(str(folder))
        files = [*folder.rglob("*.keras")]
        if len(files) != 1:
            raise ModelError(f"the model {uri} has {len(files)} .keras files, expected one; no other form is loaded")
        # not mlflow.tensorflow.load_model: it would also run code and unpickle from a model that others logged
        file, classifier = files[0], load_safely(files[0])
        class_names = tuple((described.metadata or {})["class_names"])
    except ModelError:
        raise
    except KeyError as error:
        raise ModelError(f"the model {uri} does not say its class names, so it is none of this pipeline's") from error
    except Exception as error:  # MLflow, Keras, h5py and the disk each raise their own
        raise ModelError(f"the model {uri} cannot be loaded: {type(error).__name__}: {error}") from error
    version = uri.rsplit("/", 1)[-1] if uri.startswith("models:/") else uri
    return LoadedModel(version, classifier, class_names, file)


def find_teacher(teacher: str) -> tuple[keras.Model | None, pd.DataFrame | None]:
    """Return the classifier that training.distillation.teacher names, in the registry or as a file, and its reference.

    Both are None for none; a file has no reference.
    """
    if not teacher.startswith("models:/"):
        return load_teacher(teacher), None
    return load_model(teacher).classifier, load_reference(find_version(teacher))


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
    logged = mlflow.tensorflow.log_model(
        classifier,
        name="model",
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, 1))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(class_names)))]),
        ),
        input_example=np.full((1, side, side, 1), 128, dtype=np.float32),
        registered_model_name=name,
        pip_requirements=[f"{package}=={installed_version(package)}" for package in SERVED_WITH],
        metadata={"class_names": list(class_names), "input": "grey levels 0-255, float32, (n, height, width, 1)"},
    )
    version = str(logged.registered_model_version)
    mlflow.set_tag("model_version", version)
    return f"models:/{name}/{version}"


def log_reference(reference: pd.DataFrame) -> None:
    """Log to the MLflow run what its model learned from."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, Path(REFERENCE).name)
        reference.to_parquet(path, index=False)
        mlflow.log_artifact(str(path), Path(REFERENCE).parent.as_posix())


def fetch(version: RegisteredVersion, artifact: str, folder: str | None = None) -> Path:
    """Return a copy of an artifact of the version's run, in `folder` or where MLflow likes.

    Raises ModelError where there is none.
    """
    try:
        copied = mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path=artifact, dst_path=folder)
        return Path(copied)
    except (MlflowException, OSError) as error:
        raise ModelError(f"{version.name} version {version.number} has no readable {artifact}: {error}") from error


def fetch_onnx(version: RegisteredVersion, folder: Path) -> None:
    """Put the ONNX files that the version's run has into a folder."""
    for file in mlflow.MlflowClient().list_artifacts(version.run_id, ONNX):
        if (name := Path(file.path).name) in ONNX_FILES.values():
            fetch(version, file.path, str(folder)).replace(folder / name)


def load_reference(version: RegisteredVersion) -> pd.DataFrame:
    """Return what reference_table wrote of the version's training. Raises ModelError without it."""
    return read_reference(fetch(version, REFERENCE))


def read_reference(file: Path) -> pd.DataFrame:
    """Read a reference. Raises ModelError where it is none."""
    try:
        if (rows := pq.read_metadata(file).num_rows) > REFERENCE_ROWS:  # they may be packed into a few bytes
            raise ModelError(f"{file.name} has {rows} rows, allowed: {REFERENCE_ROWS}")
        reference = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file.name} cannot be read: {error}") from error
    if missing := {"split", "exact_hash", *PROPERTIES} - set(reference.columns):
        raise ModelError(f"{file.name} lacks the columns {', '.join(sorted(missing))}")
    return reference


def now() -> str:
    """Return the time for a tag, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def tag_version(name: str, version: str, tags: Mapping[str, str]) -> None:
    """Write tags to a registered version."""
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def move_champion(name: str, version: str, expected: str | None, tags: Mapping[str, str], state_folder: str) -> None:
    """Make `version` the champion in one call, after its tags are written.

    Whatever kills the process, the alias is on the old champion or on the new one, and the new one has its tags.
    Raises ChampionMovedError where the champion is not the `expected` one any more; the lock keeps other processes
    with the same state folder from moving it in between.
    """
    with FileLock(Path(state_folder, LOCK)):
        current = find_alias(name, CHAMPION)
        if (current.number if current else None) != expected:
            raise ChampionMovedError(f"another run changed the champion of {name} meanwhile; look with --compare")
        tag_version(name, version, tags)
        mlflow.MlflowClient().set_registered_model_alias(name, CHAMPION, version)
        mirror_stage(name, version, CHAMPION)


def set_challenger(name: str, version: str) -> None:
    """Give a version the alias challenger, and its ZenML model version the stage for it."""
    mlflow.MlflowClient().set_registered_model_alias(name, CHALLENGER, version)
    mirror_stage(name, version, CHALLENGER)


def mirror_stage(name: str, version: str, alias: str) -> None:
    """Show a version's alias as the stage of ZenML's model version of that number, which is made if it is missing."""
    client, mirrored = Client(), f"mlflow-{version}"  # ZenML keeps plain numbers for its own count
    try:
        client.create_model(name)
    except EntityExistsError:
        logger.debug("ZenML has the model %s", name)
    try:
        client.create_model_version(name, mirrored)
    except EntityExistsError:
        logger.debug("ZenML has version %s of the model %s", mirrored, name)
    client.update_model_version(name, mirrored, stage=STAGES[alias], force=True)
