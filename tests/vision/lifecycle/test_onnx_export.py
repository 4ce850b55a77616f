from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.lifecycle_settings import OnnxSettings
from configs.settings import Settings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle import onnx_export
from vision.lifecycle.onnx_export import (
    ExportFaces,
    OnnxReport,
    choose_faces,
    export_classifier,
    reason_to_skip,
    why_rejected,
)
from vision.lifecycle.onnx_files import write_float32, write_int8
from vision.model.classifier import build_classifier, predict, with_temperature
from vision.model.onnx_runtime import ONNX_FILES, onnx_predictor

pytest.importorskip("onnxruntime")
SIDE = 32


def small_vgg() -> keras.Model:
    """Two blocks of a VGG in which whatever an export must get right is not at its initial value."""
    keras.utils.set_random_seed(3)
    faces = keras.Input((None, None, 1), name="faces")
    x = keras.layers.Resizing(SIDE, SIDE, antialias=True, name="resize")(faces)
    x = keras.layers.CenterCrop(28, 28)(x)
    x = keras.applications.vgg19.preprocess_input(keras.layers.Concatenate()([x] * 3))
    for filters in (8, 16):
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(x))
    logits = keras.layers.Dense(7, name="logits")(keras.layers.Flatten()(x))
    return with_temperature(keras.Model(faces, logits), 1.5)


@pytest.fixture(scope="module")
def trained(prepared: FaceSet) -> keras.Model:
    """A small network that tells the drawn faces apart."""
    model = small_vgg()
    learner = keras.Model(model.input, model.get_layer("logits").output)
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rows = prepared.rows(TRAIN)
    learner.fit(prepared.images[rows][..., None].astype(np.float32), prepared.labels[rows], epochs=15, verbose=0)
    return model


@pytest.fixture(scope="module")
def exported(
    trained: keras.Model, prepared: FaceSet, small_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OnnxReport, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    # three of 36 faces: so few say little of 0.5 points
    return export(trained, prepared, small_settings.onnx.model_copy(update={"max_accuracy_loss": 0.09}), folder), folder


def export(model: keras.Model, faces: FaceSet, settings: OnnxSettings, folder: Path) -> OnnxReport:
    rows, calibration = faces.rows(VALIDATION), faces.images[faces.rows(TRAIN)[:32]]
    chosen = ExportFaces(calibration, faces.images[rows], faces.labels[rows])
    return export_classifier(model, 1.0, chosen, settings, folder)


def test_float32_and_int8_answer_as_the_trained_network_does(
    exported: tuple[OnnxReport, Path], trained: keras.Model, prepared: FaceSet
) -> None:
    images = prepared.images[prepared.rows(VALIDATION)]
    expected = predict(trained, images, 16)

    answers = [onnx_predictor(exported[1] / name, SIDE, 7).predict(images, 16) for name in ONNX_FILES.values()]

    assert expected.max(axis=1).mean() > 0.4  # it has learned something that quantisation could spoil
    np.testing.assert_allclose(answers[0], expected, atol=1e-5)
    assert 1e-5 < np.abs(answers[1] - expected).max() < 0.1


def test_a_vgg19_of_the_settings_converts(small_settings: Settings, prepared: FaceSet, tmp_path: Path) -> None:
    narrow = small_settings.classifier.model_copy(update={"width": 0.0625})
    model = with_temperature(build_classifier(narrow, SIDE, 7), 1.3)

    write_float32(model, tmp_path / "model.onnx")

    found = onnx_predictor(tmp_path / "model.onnx", SIDE, 7).predict(prepared.images[:3], 3)
    np.testing.assert_allclose(found, predict(model, prepared.images[:3], 3), atol=1e-4)


def test_a_file_takes_batches_of_any_size(exported: tuple[OnnxReport, Path], prepared: FaceSet) -> None:
    predictor = onnx_predictor(exported[1] / "model.onnx", SIDE, 7)

    one_by_one, together = (predictor.predict(prepared.images[:7], size) for size in (1, 5))

    np.testing.assert_allclose(one_by_one, together, atol=1e-6)
    assert one_by_one.shape == (7, 7)


def test_a_network_without_convolutions_converts_too(prepared: FaceSet, tmp_path: Path) -> None:
    faces = keras.Input((None, None, 1))
    x = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(SIDE, SIDE, name="resize")(faces))
    model = keras.Model(faces, keras.layers.Dense(7, activation="softmax")(keras.layers.Flatten()(x)))

    write_float32(model, tmp_path / "model.onnx")
    write_int8(tmp_path / "model.onnx", tmp_path / "model.int8.onnx", prepared.images[:8], 0.0)

    found = onnx_predictor(tmp_path / "model.int8.onnx", SIDE, 7).predict(prepared.images[:3], 3)
    np.testing.assert_allclose(found, predict(model, prepared.images[:3], 3), atol=0.05)


def test_the_report_has_size_accuracy_and_latency_of_every_runtime(exported: tuple[OnnxReport, Path]) -> None:
    report, folder = exported
    numbers = report.numbers()

    assert [found.runtime for found in report.runtimes] == ["keras", "onnx", "onnx_int8"]
    assert numbers["onnx/keras_megabytes"] == 1.0
    assert numbers["onnx/onnx_megabytes"] == pytest.approx((folder / "model.onnx").stat().st_size / 1e6)
    assert numbers["onnx/onnx_accuracy"] == numbers["onnx/keras_accuracy"]
    for runtime in ("keras", "onnx", "onnx_int8"):
        for batch in (1, 4):
            p50, p95 = (numbers[f"onnx/{runtime}_batch{batch}_{p}_milliseconds"] for p in ("p50", "p95"))
            assert 0 < p50 <= p95
    assert report.figures["latencies.png"].startswith(b"\x89PNG")
    assert OnnxReport.from_facts(report.facts(), report.figures) == report


def test_a_file_that_answers_otherwise_than_keras_is_an_error(
    trained: keras.Model, prepared: FaceSet, small_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = onnx_export.write_float32
    monkeypatch.setattr(onnx_export, "write_float32", lambda model, file: convert(small_vgg(), file))

    with pytest.raises(UserError, match=r"from Keras's, allowed is onnx\.max_probability_difference 0\.001"):
        export(trained, prepared, small_settings.onnx, tmp_path)


def test_an_int8_file_that_loses_too_much_is_not_kept(
    trained: keras.Model, prepared: FaceSet, small_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = onnx_export.write_float32
    monkeypatch.setattr(onnx_export, "write_int8", lambda source, target, *_: convert(small_vgg(), target) or 1)

    report = export(trained, prepared, small_settings.onnx, tmp_path)

    assert report.rejected.startswith("int8 loses ")
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_faces_for_calibration_are_a_sample_of_the_training_faces(prepared: FaceSet) -> None:
    faces = choose_faces(prepared, 20, seed=1)

    training = {image.tobytes() for image in prepared.images[prepared.rows(TRAIN)]}
    assert len(faces.calibration) == 20
    assert {image.tobytes() for image in faces.calibration} <= training
    assert faces.labels.tolist() == prepared.labels[prepared.rows(VALIDATION)].tolist()


@pytest.mark.parametrize(
    ("float32", "int8", "reason"),
    [(0.5, 0.6, ""), (0.5, 0.495, ""), (335 / 800, 331 / 800, ""), (0.5, 0.49, "loses 1.00 points")],
)
def test_int8_may_lose_as_much_accuracy_as_is_allowed(float32: float, int8: float, reason: str) -> None:
    said = why_rejected(float32, int8, 0.005)

    assert reason in said
    assert bool(said) == bool(reason)


def test_nothing_is_exported_where_it_is_off_or_a_package_is_missing(
    small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    enabled = small_settings.onnx.model_copy(update={"enabled": True})

    assert reason_to_skip(small_settings.onnx) == "onnx.enabled is false"
    assert reason_to_skip(enabled) == ""
    monkeypatch.setattr(onnx_export, "PACKAGES", ("onnx", "no_such_package"))
    assert reason_to_skip(enabled).startswith("no_such_package not installed; run `.venv/bin/pip install onnx ")


def test_faces_need_not_be_as_many_as_the_largest_batch(
    trained: keras.Model, prepared: FaceSet, small_settings: Settings
) -> None:
    settings = small_settings.onnx.model_copy(update={"latency_batches": (5,)})
    sizes = []
    predictor = replace(onnx_export.keras_predictor(trained), predict=lambda faces, batch: sizes.append(len(faces)))

    onnx_export.time_batches(predictor, prepared.images[:2], settings)

    assert set(sizes) == {5}
