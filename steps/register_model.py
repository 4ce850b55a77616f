"""Step register_model."""

import shutil
from importlib.metadata import version
from typing import Annotated

import keras
import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from zenml import step

from steps.tracking import run_checkpoint
from vision.faces import VALIDATION, FaceSet

SERVED_WITH = ("tensorflow", "keras", "numpy")  # named, because finding out takes MLflow a minute


@step(experiment_tracker=True, enable_cache=False)
def register_model(
    classifier: keras.Model, prepared: FaceSet, model_name: str, tags: dict[str, str], checkpoints_folder: str
) -> Annotated[str, "model_uri"]:
    """Log the model to MLflow with signature and example, register it, and return its URI (models:/NAME/VERSION).

    The run's checkpoint is deleted: MLflow has the model now.
    """
    example = prepared.images[prepared.rows(VALIDATION)[:1]][..., None].astype(np.float32)
    logged = mlflow.tensorflow.log_model(
        classifier,
        name="model",
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, 1))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(prepared.class_names)))]),
        ),
        input_example=example,
        registered_model_name=model_name,
        pip_requirements=[f"{package}=={version(package)}" for package in SERVED_WITH],
        metadata={
            "class_names": list(prepared.class_names),
            "input": "grey levels 0-255, float32, (n, height, width, 1)",
        },
    )
    registered = str(logged.registered_model_version)
    for name, value in {**tags, "data_fingerprint": prepared.fingerprint}.items():
        mlflow.MlflowClient().set_model_version_tag(model_name, registered, name, value)
    mlflow.set_tag("model_version", registered)
    shutil.rmtree(run_checkpoint(checkpoints_folder).parent, ignore_errors=True)
    return f"models:/{model_name}/{registered}"
