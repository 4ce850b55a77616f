"""Jobs in little: settings, a predictor without Keras, and pictures in memory."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from configs.inference_settings import InferenceSettings
from configs.loading import load_settings
from vision.inference import job
from vision.inference.inputs import open_pictures
from vision.inference.job import job_folder, predict_pictures
from vision.inference.summary import InferenceReport, UsedModel
from vision.model.onnx_runtime import Predictor

NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
MODEL = UsedModel("3", NAMES, "hash of its file")
SIDE = 24


def predict_toy(faces: np.ndarray, batch_size: int) -> np.ndarray:
    """Return probabilities that differ from face to face."""
    weights = np.random.default_rng(0).normal(0, 0.02, (SIDE * SIDE, len(NAMES)))
    powers = np.exp(faces.reshape(len(faces), -1) / 32 @ weights)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


TOY = Predictor(side=SIDE, predict=predict_toy)


def inference_settings(given: Path, output: Path, **changes: Any) -> InferenceSettings:
    base = load_settings([], {}).inference
    return base.model_copy(update={"input": str(given), "output": output, "detect": False, "workers": 2, **changes})


def run_job(settings: InferenceSettings, predictor: Predictor = TOY) -> tuple[InferenceReport, Path]:
    pictures = open_pictures(settings)
    folder = job_folder(settings, pictures, MODEL)
    return predict_pictures(predictor, MODEL, pictures, settings, folder), folder


def run_slowly(given: str, output: str, part_size: int) -> None:
    """Run the job of test_a_killed_job..., so slowly that it can be killed on the way. Runs in a process of its own."""

    def predict_slowly(faces: np.ndarray, batch_size: int) -> np.ndarray:
        time.sleep(0.3)
        return predict_toy(faces, batch_size)

    job.CROPS_A_PART = part_size
    run_job(inference_settings(Path(given), Path(output), batch_size=16), Predictor(side=SIDE, predict=predict_slowly))


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "predictions.parquet")


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
