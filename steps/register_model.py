"""Step register_model: register the trained model as the challenger."""

import shutil
from typing import Annotated

import keras
import mlflow
import pandas as pd
from zenml import step

from stack.fingerprints import surroundings_of
from stack.model_store import log_classifier, log_reference
from stack.registry import set_challenger, tag_version
from stack.run_log import run_id
from stack.step_places import StepPlaces
from vision.data.faces import FaceSet


@step(experiment_tracker=True, enable_cache=False)
def register_model(
    classifier: keras.Model,
    reference: pd.DataFrame,
    prepared: FaceSet,
    model_name: str,
    tags: dict[str, str],
    places: StepPlaces,
) -> Annotated[str, "model_uri"]:
    """Log the model and its reference to MLflow, register it as the challenger, and return models:/NAME/VERSION.

    The run's checkpoint is deleted: MLflow has the model now.
    """
    log_reference(reference)
    uri = log_classifier(classifier, prepared.class_names, model_name)
    version = uri.rsplit("/", 1)[-1]
    trained_on = surroundings_of(mlflow.get_run(run_id()).data.tags)
    tag_version(model_name, version, {**tags, **trained_on, "prepared_fingerprint": prepared.fingerprint})
    set_challenger(model_name, version)
    shutil.rmtree(places.run_checkpoint().parent, ignore_errors=True)
    return uri
