"""Keras as a runtime: a classifier as one function of faces, and how long any runtime takes."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from vision.model.classifier import input_side, predict
from vision.model.onnx_runtime import Predictor

Array = np.ndarray[Any, Any]
KERAS = "keras"
WARM_UP = 5  # the first calls compile and allocate


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
    return Predictor(input_side(classifier), partial(predict, classifier), partial(_rebuild, classifier))


def _rebuild(classifier: keras.Model, threads: int) -> Predictor:
    """Return the predictor of a classifier that was pickled; Ray has told TensorFlow how many threads it may use."""
    return keras_predictor(classifier)
