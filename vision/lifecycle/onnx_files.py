"""ONNX files: a classifier written in float32, and that file quantised to int8."""

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from vision.model.classifier import input_side

Array = np.ndarray[Any, Any]
FACES, PROBABILITIES = "faces", "probabilities"  # input and output of the ONNX files
OPSET = 17
QUANTIZED = ("Conv", "Relu", "MaxPool")  # nearly all of the work
CALIBRATION_BATCH = 32


def write_float32(classifier: keras.Model, file: Path) -> None:
    """Write what follows the layer `resize`: (n, side, side, 1) float32 grey levels of 0-255 to probabilities.

    Callers resize: ONNX knows no resizing that averages as Keras's does.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    side = input_side(classifier)
    network = keras.Model(classifier.get_layer("resize").output, classifier.output)
    traced = tf.function(lambda faces: network(faces, training=False)).get_concrete_function(
        tf.TensorSpec((None, side, side, 1), tf.float32, name=FACES)
    )
    # not Keras's export(format="onnx"): the constants of preprocess_input become inputs there
    source, target = traced.inputs[0].name, traced.outputs[0].name
    with _quiet("tensorflow", "tf2onnx"):
        graph = tf2onnx.tf_loader.from_function(traced, [source], [target])
        converted, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=[source],
            output_names=[target],
            opset=OPSET,
            tensors_to_rename={source: FACES, target: PROBABILITIES},
        )
    onnx.save(converted, file)


def write_int8(source: Path, target: Path, faces: Array, float_share: float) -> int:
    """Write a float32 file as int8: static quantisation, of weights by channel, of activations by the range that
    (n, side, side) uint8 faces reach (Jacob et al. 2018). Return how many convolutions stay float32.

    The range is the mean of those of the batches, since the widest one leaves too few steps to all other faces.
    In float32 stay the first, which is little work and changes many answers, and of the last as many as `float_share`
    says: the head's batch normalisation magnifies channels that a single range for all of them hardly tells apart.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = (
        {FACES: faces[start : start + CALIBRATION_BATCH, ..., None].astype(np.float32)}
        for start in range(0, len(faces), CALIBRATION_BATCH)
    )
    with tempfile.TemporaryDirectory() as temporary:
        folded = Path(temporary, "folded.onnx")  # batch normalisation is in the convolutions' weights then
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(folded).graph.node if node.op_type == "Conv"]
        last = len(convolutions) - math.ceil(float_share * len(convolutions))
        in_float = [*convolutions[:1], *convolutions[max(1, last) :]]
        quantization.quantize_static(
            folded,
            target,
            SimpleNamespace(get_next=lambda: next(batches, None)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=in_float,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"CalibMovingAverage": True},
        )
    return len(in_float)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Let loggers report errors only."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
