"""One run of batch inference with the released model's ONNX file, as a process of its own that can be killed."""

import json
import logging
import sys
import tempfile
import zipfile
from pathlib import Path

from configs.errors import UserError
from configs.loading import load_settings
from stack.ray_cluster import ray_engine
from vision.inference.inputs import open_pictures
from vision.inference.job import job_folder, predict_pictures
from vision.inference.ray_job import settings_for_ray
from vision.inference.summary import UsedModel
from vision.lifecycle.releases import newest_release
from vision.model.onnx_runtime import Predictor, onnx_predictor

NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")


def released_predictor() -> Predictor:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(newest_release()) as bundle:
        return onnx_predictor(Path(bundle.extract("model.int8.onnx", folder)), 48, len(NAMES))


def main(given: str) -> int:
    """Predict by settings of `inference` in JSON; print what was predicted, or what a user would be told."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = load_settings([], {"inference": json.loads(given)}).inference
    pictures = open_pictures(settings)
    model = UsedModel("3", NAMES, "hash of its file")
    try:
        if settings.engine == "ray":
            settings = settings_for_ray(settings, pictures)
        folder = job_folder(settings, pictures, model)
        engine = ray_engine(settings.ray, folder) if settings.engine == "ray" else None
        report = predict_pictures(released_predictor(), model, pictures, settings, folder, engine)
    except UserError as error:
        logging.info("told: %s", error)
        return error.exit_code
    logging.info("predicted %d pictures in %.1f s", report.pictures, report.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
