"""ONNX export: a classifier as float32 and int8 files for ONNX Runtime, checked against Keras and timed."""

import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from configs.errors import UserError
from configs.lifecycle_settings import OnnxSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle import plots
from vision.lifecycle.onnx_files import write_float32, write_int8
from vision.model.classifier import input_side
from vision.model.onnx_runtime import ONNX_FILES, Predictor, onnx_predictor
from vision.model.runtimes import KERAS, keras_predictor, time_predictions
from vision.reporting.reports import Report

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
FLOAT32, INT8 = ONNX_FILES
CHECK_BATCH = 256
FLOAT_SHARES = (0.0, 0.1, 0.25, 0.5)  # of the convolutions, the last, that stay float32; the first that loses little


@dataclass(frozen=True)
class ExportFaces:
    """(n, side, side) uint8 faces to calibrate int8 with, and faces with their (n,) labels to check all files on."""

    calibration: Array
    validation: Array
    labels: Array


@dataclass(frozen=True)
class _Check:
    """What a runtime answers on the validation faces: (n, classes) probabilities, and the share that is right."""

    predictor: Predictor
    answers: Array
    accuracy: float

    def largest_difference(self, other: "_Check") -> float:
        return float(np.abs(self.answers - other.answers).max())


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


def choose_faces(prepared: FaceSet, calibration_faces: int, seed: int) -> ExportFaces:
    """Return a sample of the training faces for calibration, and all validation faces for the checks."""
    training, validation = prepared.rows(TRAIN), prepared.rows(VALIDATION)
    chosen = np.sort(np.random.default_rng(seed).permutation(training)[:calibration_faces])
    return ExportFaces(prepared.images[chosen], prepared.images[validation], prepared.labels[validation])


def export_classifier(
    classifier: keras.Model, megabytes: float, faces: ExportFaces, settings: OnnxSettings, folder: Path
) -> OnnxReport:
    """Write the files of ONNX_FILES to `folder`, check them on the validation faces and measure all runtimes.

    `classifier` gives probabilities and takes `megabytes` on disk. Where int8 loses too much, more and more of the last
    convolutions stay float32; an int8 file that still loses too much is removed again.
    Raises UserError where float32 does not answer as Keras does.
    """
    side, classes = input_side(classifier), classifier.output_shape[-1]
    files = {runtime: folder / name for runtime, name in ONNX_FILES.items()}
    write_float32(classifier, files[FLOAT32])
    checks = {
        KERAS: _check(keras_predictor(classifier), faces),
        FLOAT32: _check(onnx_predictor(files[FLOAT32], side, classes), faces),
    }
    _compare_with_keras(checks, settings)
    checks[INT8], rejected = _quantise(files, checks[FLOAT32], faces, settings)
    sizes = {KERAS: megabytes} | {runtime: file.stat().st_size / 1e6 for runtime, file in files.items()}
    if rejected:
        files[INT8].unlink()
    runtimes = [
        RuntimeMeasurement(
            runtime=runtime,
            megabytes=sizes[runtime],
            accuracy=check.accuracy,
            largest_difference=check.largest_difference(checks[KERAS]),
            latencies=time_batches(check.predictor, faces.validation, settings),
        )
        for runtime, check in checks.items()
    ]
    times = pd.DataFrame([{"runtime": found.runtime, **vars(item)} for found in runtimes for item in found.latencies])
    figures = {"latencies.png": plots.latencies(times)}
    return OnnxReport(rejected=rejected, faces=len(faces.validation), runtimes=runtimes, figures=figures)


def _check(predictor: Predictor, faces: ExportFaces) -> _Check:
    answers = predictor.predict(faces.validation, CHECK_BATCH)
    return _Check(predictor, answers, float((answers.argmax(axis=1) == faces.labels).mean()))


def _compare_with_keras(checks: Mapping[str, _Check], settings: OnnxSettings) -> None:
    difference = checks[FLOAT32].largest_difference(checks[KERAS])
    if not difference <= settings.max_probability_difference:
        raise UserError(
            f"the ONNX file's probabilities are up to {difference:.2g} from Keras's, allowed is "
            f"onnx.max_probability_difference {settings.max_probability_difference:g}; onnx.enabled false leaves it out"
        )


def _quantise(
    files: Mapping[str, Path], float32: _Check, faces: ExportFaces, settings: OnnxSettings
) -> tuple[_Check, str]:
    """Write the int8 file that loses little; return how it answers, and why the last one tried is not to be kept."""
    for share in FLOAT_SHARES:
        in_float = write_int8(files[FLOAT32], files[INT8], faces.calibration, share)
        check = _check(onnx_predictor(files[INT8], float32.predictor.side, float32.answers.shape[1]), faces)
        rejected = why_rejected(float32.accuracy, check.accuracy, settings.max_accuracy_loss)
        if not rejected:
            break
        logger.info("int8 with %d convolutions in float32: %s", in_float, rejected)
    return check, rejected


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
