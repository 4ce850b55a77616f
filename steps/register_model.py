"""Step register_model: register the trained model as the challenger."""

import shutil
from typing import Annotated

import keras
import pandas as pd
from zenml import step

from stack.model_store import log_classifier, log_reference
from stack.registry import set_challenger, tag_version
from stack.run_log import run_checkpoint
from vision.data.faces import FaceSet


@step(experiment_tracker=True, enable_cache=False)
def register_model(
    classifier: keras.Model,
    reference: pd.DataFrame,
    prepared: FaceSet,
    model_name: str,
    tags: dict[str, str],
    checkpoints_folder: str,
) -> Annotated[str, "model_uri"]:
    """Log the model and its reference to MLflow, register it as the challenger, and return models:/NAME/VERSION.

    The run's checkpoint is deleted: MLflow has the model now.
    """
    log_reference(reference)
    uri = log_classifier(classifier, prepared.class_names, model_name)
    version = uri.rsplit("/", 1)[-1]
    tag_version(model_name, version, {**tags, "data_fingerprint": prepared.fingerprint})
    set_challenger(model_name, version)
    shutil.rmtree(run_checkpoint(checkpoints_folder).parent, ignore_errors=True)
    return uri
