"""ONNX export: a classifier as float32 and int8 files for ONNX Runtime, checked against Keras and timed."""

import importlib.util
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pandas as pd

from configs.errors import UserError
from configs.settings import OnnxSettings
from vision.lifecycle import plots
from vision.model.classifier import input_side
from vision.model.runtimes import KERAS, ONNX_FILES, Predictor, keras_predictor, onnx_predictor, time_predictions
from vision.reporting.reports import Report

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
FLOAT32, INT8 = ONNX_FILES
FACES, PROBABILITIES = "faces", "probabilities"  # input and output of the ONNX files
OPSET = 17
QUANTIZED = ("Conv", "Relu", "MaxPool")  # nearly all of the work
CALIBRATION_BATCH, CHECK_BATCH = 32, 256
FLOAT_SHARES = (0.0, 0.1, 0.25, 0.5)  # of the convolutions, the last, that stay float32; the first that loses little


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile of the milliseconds that one batch takes."""

    batch: int
    p50: float
    p95: float


@dataclass(frozen=True)
class RuntimeMeasurement:
    """What a runtime needs and gives. `largest_difference` is from Keras's probabilities."""

    runtime: str
    megabytes: float
    accuracy: float
    largest_difference: float
    latencies: list[Latency]

    def __str__(self) -> str:
        times = ", ".join(f"{item.p50:.1f}/{item.p95:.1f} at {item.batch}" for item in self.latencies)
        return f"{self.megabytes:.1f} MB, accuracy {self.accuracy:.2%}, p50/p95 in ms by batch size: {times}"


@dataclass(frozen=True, kw_only=True)
class OnnxReport(Report):
    """What was measured on the validation faces. `skipped` says why nothing was, `rejected` why int8 is not kept."""

    skipped: str = ""
    rejected: str = ""
    faces: int = 0
    runtimes: list[RuntimeMeasurement]

    def numbers(self) -> dict[str, float]:
        numbers = {}
        for measured in self.runtimes:
            for name in ("megabytes", "accuracy", "largest_difference"):
                numbers[f"onnx/{measured.runtime}_{name}"] = float(getattr(measured, name))
            for latency in measured.latencies:
                numbers[f"onnx/{measured.runtime}_batch{latency.batch}_p50_milliseconds"] = latency.p50
                numbers[f"onnx/{measured.runtime}_batch{latency.batch}_p95_milliseconds"] = latency.p95
        return numbers


def reason_to_skip(settings: OnnxSettings) -> str:
    """Return why no ONNX files are to be written, or "" where they are."""
    if not settings.enabled:
        return "onnx.enabled is false"
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed; run `.venv/bin/pip install {' '.join(PACKAGES)}`"
    return ""


def export_classifier(
    classifier: keras.Model,
    megabytes: float,
    calibration: Array,
    validation: Array,
    labels: Array,
    settings: OnnxSettings,
    folder: Path,
) -> OnnxReport:
    """Write the files of ONNX_FILES to `folder`, check them on the validation faces and measure all runtimes.

    `classifier` gives probabilities and takes `megabytes` on disk; `calibration` and `validation` are
    (n, side, side) uint8, `labels` the (n,) classes of the latter. Where int8 loses too much, more and more of the last
    convolutions stay float32; an int8 file that still loses too much is removed again.
    Raises UserError where float32 answers otherwise than Keras.
    """
    side, classes = input_side(classifier), classifier.output_shape[-1]
    files = {runtime: folder / name for runtime, name in ONNX_FILES.items()}
    write_float32(classifier, files[FLOAT32])
    predictors = {KERAS: keras_predictor(classifier), FLOAT32: onnx_predictor(files[FLOAT32], side, classes)}
    answers = {runtime: predictor.predict(validation, CHECK_BATCH) for runtime, predictor in predictors.items()}
    accuracies = {runtime: float((found.argmax(axis=1) == labels).mean()) for runtime, found in answers.items()}
    rejected = ""
    for share in FLOAT_SHARES:
        in_float = write_int8(files[FLOAT32], files[INT8], calibration, share)
        predictors[INT8] = onnx_predictor(files[INT8], side, classes)
        answers[INT8] = predictors[INT8].predict(validation, CHECK_BATCH)
        accuracies[INT8] = float((answers[INT8].argmax(axis=1) == labels).mean())
        rejected = why_rejected(accuracies[FLOAT32], accuracies[INT8], settings.max_accuracy_loss)
        if not rejected:
            break
        logger.info("int8 with %d convolutions in float32: %s", in_float, rejected)
    sizes = {KERAS: megabytes} | {runtime: file.stat().st_size / 1e6 for runtime, file in files.items()}
    differences = {runtime: float(np.abs(found - answers[KERAS]).max()) for runtime, found in answers.items()}
    if not differences[FLOAT32] <= settings.max_probability_difference:
        raise UserError(
            f"the ONNX file's probabilities are up to {differences[FLOAT32]:.2g} from Keras's, allowed is "
            f"onnx.max_probability_difference {settings.max_probability_difference:g}; onnx.enabled false leaves it out"
        )
    if rejected:
        files[INT8].unlink()
    runtimes = [
        RuntimeMeasurement(
            runtime,
            sizes[runtime],
            accuracies[runtime],
            differences[runtime],
            time_batches(predictor, validation, settings),
        )
        for runtime, predictor in predictors.items()
    ]
    times = pd.DataFrame([{"runtime": found.runtime, **vars(item)} for found in runtimes for item in found.latencies])
    figures = {"latencies.png": plots.latencies(times)}
    return OnnxReport(rejected=rejected, faces=len(validation), runtimes=runtimes, figures=figures)


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


def why_rejected(float32: float, int8: float, max_loss: float) -> str:
    """Return why an int8 file of that accuracy is not kept, or "" where it is."""
    if float32 - int8 <= max_loss + 1e-9:  # 4 of 800 faces are 0.5 points, whatever their difference rounds to
        return ""
    lost, allowed = 100 * (float32 - int8), 100 * max_loss
    return (
        f"int8 loses {lost:.2f} points of accuracy on the validation split ({float32:.2%} to {int8:.2%}), "
        f"allowed are {allowed:.2f} (onnx.max_accuracy_loss)"
    )


def time_batches(predictor: Predictor, faces: Array, settings: OnnxSettings) -> list[Latency]:
    """Time `settings.latency_samples` predictions of each batch size of `settings.latency_batches`."""
    return [_time_batch(predictor, faces, batch, settings.latency_samples) for batch in settings.latency_batches]


def _time_batch(predictor: Predictor, faces: Array, batch: int, samples: int) -> Latency:
    chosen = faces[np.arange(batch) % len(faces)]
    p50, p95 = np.percentile(time_predictions(predictor.predict, chosen, samples), [50, 95])
    return Latency(batch, float(p50), float(p95))


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
