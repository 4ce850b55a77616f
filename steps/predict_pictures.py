"""Step predict_pictures: find and predict the faces of every picture."""

import logging
from pathlib import Path
from typing import Annotated

import mlflow
from zenml import step

from configs.inference_settings import InferenceSettings
from configs.loading import PROJECT
from materializers.report_materializer import ReportMaterializer
from stack import model_store, registry
from stack.ray_cluster import ray_engine
from stack.released import load_released
from stack.run_log import log_report
from stack.step_places import StepPlaces
from vision.inference.inputs import open_pictures
from vision.inference.job import LOCK, PARTS, job_folder
from vision.inference.job import predict_pictures as predict_all
from vision.inference.ray_job import settings_for_ray
from vision.inference.summary import InferenceReport, UsedModel
from vision.model.weight_files import weights_hash

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False, output_materializers={"inference_report": ReportMaterializer})
def predict_pictures(
    inference: InferenceSettings,
    model_name: str,
    released: str,
    max_bytes: int,
    tags: dict[str, str],
    places: StepPlaces,
) -> tuple[
    Annotated[InferenceReport, "inference_report"], Annotated[str, "predictions_folder"], Annotated[str, "model_uri"]
]:
    """Find and predict the faces of every picture; files go to the job's folder, counts to MLflow.

    `released` is a bundle in the project's folder, or empty: its model predicts where the champion is asked for and the
    registry has none.
    """
    pictures = open_pictures(inference)
    uri = inference.model
    if uri == registry.CHAMPION and released and registry.find_alias(model_name, registry.CHAMPION) is None:
        uri = str(PROJECT / released)
        logger.info("%s has no champion, so the released model %s predicts", model_name, uri)
        model, predictor = load_released(Path(uri), max_bytes, inference.runtime)
    else:
        if uri == registry.CHAMPION:
            uri = registry.champion_of(model_name).uri
        model = model_store.load_model(uri)
        predictor = model_store.load_predictor(model, uri, inference.runtime)
    used_model = UsedModel(model.version, model.class_names, weights_hash(str(model.file)))
    if inference.engine == "ray":
        inference = settings_for_ray(inference, pictures)
    shown = job_folder(inference, pictures, used_model)
    used = {"model": uri, "runtime": inference.runtime, "input": pictures.name, "predictions": str(shown)}
    mlflow.set_tags({**tags, **used})
    folder = places.job_folder(shown)
    engine = ray_engine(inference.ray, folder) if inference.engine == "ray" else None
    report = predict_all(predictor, used_model, pictures, inference, folder, engine)
    if engine is not None:
        engine.clean()
    places.keep_predictions(folder, left_out=(LOCK, PARTS))
    log_report(report, "inference")
    return report, str(shown), uri
