"""Runtimes: a classifier as one function of faces, computed by Keras or ONNX Runtime."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from configs.errors import UserError
from vision.model.classifier import input_side, predict

Array = np.ndarray[Any, Any]
KERAS = "keras"
WARM_UP = 5  # the first calls compile and allocate
ONNX_FILES = {"onnx": "model.onnx", "onnx_int8": "model.int8.onnx"}  # of the other runtimes


@dataclass(frozen=True)
class Predictor:
    """A classifier, and the side in pixels of the faces that it takes.

    `predict(faces, batch_size)` turns (n, side, side) uint8 grey levels into (n, classes) float32.
    """

    side: int
    predict: Callable[[Array, int], Array]


def time_predictions(predict_faces: Callable[[Array, int], Array], faces: Array, samples: int) -> Array:
    """Measure the milliseconds of `samples` calls with all (n, side, side) uint8 faces at once; return (samples,)."""
    seconds = []
    for _ in range(WARM_UP + samples):
        started = time.perf_counter()
        predict_faces(faces, len(faces))
        seconds.append(time.perf_counter() - started)
    return np.array(seconds[WARM_UP:]) * 1000


def keras_predictor(classifier: keras.Model) -> Predictor:
    """Return the predictor of a Keras classifier."""
    return Predictor(input_side(classifier), partial(predict, classifier))


def onnx_predictor(file: Path, side: int, classes: int) -> Predictor:
    """Return the predictor of an ONNX file, computed by ONNX Runtime on the processor.

    Raises UserError where ONNX Runtime is not installed or cannot read the file, and where the file's model does not
    turn (n, side, side, 1) float32 into (n, classes) probabilities.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(
            "inference.runtime onnx and onnx_int8 need the package onnxruntime: run `.venv/bin/pip install "
            "onnxruntime`, or set --inference.runtime keras"
        ) from error
    try:
        session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise UserError(f"{file.name} cannot be read as an ONNX model: {str(error).splitlines()[0]}") from error
    shapes = [
        [(node.type, *node.shape[1:]) for node in nodes] for nodes in (session.get_inputs(), session.get_outputs())
    ]
    expected = [[("tensor(float)", side, side, 1)], [("tensor(float)", classes)]]
    if shapes != expected:
        raise UserError(f"{file.name} is not this model's: it takes and gives {shapes}, expected {expected}")
    return Predictor(side, partial(_run, session))


def _run(session: Any, faces: Array, batch_size: int) -> Array:
    name = session.get_inputs()[0].name
    batches = [
        session.run(None, {name: faces[start : start + batch_size, ..., None].astype(np.float32)})[0]
        for start in range(0, len(faces), batch_size)
    ]
    return np.concatenate(batches)
