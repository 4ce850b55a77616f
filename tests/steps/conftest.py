"""Fixtures: a real SQLite MLflow store in which each test registers toy models under a name of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities.model_registry import ModelVersion

from stack import model_store
from tests.steps.toy_models import know
from vision.data.faces import VALIDATION, FaceSet
from vision.lifecycle.drift import add_taught, reference_table
from vision.model.classifier import predict


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("life", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("life")
    yield folder
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def logged(store: Path, prepared: FaceSet) -> Callable[..., ModelVersion]:
    """Return a function that logs a toy model with its reference once; each test registers it under its own name."""
    kept: dict[tuple[float, str], ModelVersion] = {}

    def run(share: float, teacher: pd.DataFrame | None) -> ModelVersion:
        key = (share, "" if teacher is None else teacher.to_json())
        if key not in kept:
            with mlflow.start_run():
                classifier = know(prepared, share)
                validation = predict(classifier, prepared.images[prepared.rows(VALIDATION)], batch_size=32)
                reference = reference_table(prepared, validation)
                model_store.log_reference(reference if teacher is None else add_taught(reference, teacher))
                uri = model_store.log_classifier(classifier, prepared.class_names, "logged")
            kept[key] = mlflow.MlflowClient().get_model_version("logged", uri.rsplit("/", 1)[-1])
        return kept[key]

    return run


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The registered model of this test alone."""
    return str(request.node.name)


@pytest.fixture
def register(logged: Callable[..., ModelVersion], name: str) -> Callable[..., str]:
    """Return a function that registers a toy model, with a teacher's reference or none, and gives the version's URI."""
    client = mlflow.MlflowClient()
    client.create_registered_model(name)

    def run(share: float, teacher: pd.DataFrame | None = None) -> str:
        found = logged(share, teacher)
        made = client.create_model_version(name, found.source, found.run_id, model_id=found.model_id)
        return f"models:/{name}/{made.version}"

    return run
