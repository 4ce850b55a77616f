"""ONNX Runtime: a classifier's file as one function of faces. Without Keras, which the service does not import."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError

Array = np.ndarray[Any, Any]
ONNX_FILES = {"onnx": "model.onnx", "onnx_int8": "model.int8.onnx"}  # of the other runtimes


@dataclass(frozen=True)
class Predictor:
    """A classifier, and the side in pixels of the faces that it takes.

    `predict(faces, batch_size)` turns (n, side, side) uint8 grey levels into (n, classes) float32. `rebuild(threads)`
    makes the same predictor again; it can be pickled and called on another machine. The service has none.
    """

    side: int
    predict: Callable[[Array, int], Array]
    rebuild: "Rebuild | None" = None


Rebuild = Callable[[int], Predictor]


def onnx_predictor(file: Path, side: int, classes: int) -> Predictor:
    """Return the predictor of an ONNX file, computed by ONNX Runtime on the processor.

    Raises UserError as `predictor_of` does, and where the file cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    return replace(
        predictor_of(content, file.name, side, classes),
        rebuild=partial(predictor_of, content, file.name, side, classes),
    )


def predictor_of(content: bytes, name: str, side: int | None, classes: int, threads: int = 0) -> Predictor:
    """Return the predictor of an ONNX file's content, which messages call `name`.

    A `side` of None is what the file says, and 0 `threads` are as many as there are cores. Raises UserError where ONNX
    Runtime is not installed or cannot read the content, and where its model does not turn (n, side, side, 1) float32
    into (n, classes) probabilities.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError(
            "inference.runtime onnx and onnx_int8 need the package onnxruntime: run `.venv/bin/pip install "
            "onnxruntime`, or set --inference.runtime keras"
        ) from error
    try:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = threads == 0  # a plan for each size of batch, which would stay in memory
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise UserError(f"{name} cannot be read as an ONNX model: {str(error).splitlines()[0]}") from error
    shapes = [
        [(node.type, *node.shape[1:]) for node in nodes] for nodes in (session.get_inputs(), session.get_outputs())
    ]
    if side is None:
        side = next((length for length in shapes[0][0][1:2] if isinstance(length, int)), 0)
    expected = [[("tensor(float)", side, side, 1)], [("tensor(float)", classes)]]
    if shapes != expected:
        raise UserError(f"{name} is not this model's: it takes and gives {shapes}, expected {expected}")
    return Predictor(side, partial(_run, session))


def _run(session: Any, faces: Array, batch_size: int) -> Array:
    name = session.get_inputs()[0].name
    batches = [
        session.run(None, {name: faces[start : start + batch_size, ..., None].astype(np.float32)})[0]
        for start in range(0, len(faces), batch_size)
    ]
    return np.concatenate(batches)
