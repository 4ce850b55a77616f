"""The champion that comes with the project."""

from pathlib import Path

import numpy as np
import pytest

from configs.data_settings import DrawnSettings
from configs.loading import load_settings
from tests.test_shared_data import ARCHIVE
from vision.data.faces import TEST
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import IN_TRAINING, preprocess_faces
from vision.data.synthetic import draw_faces
from vision.lifecycle.bundles import LABELS, METRICS, About, check_probe, read_bundle, read_json
from vision.lifecycle.releases import newest_release
from vision.model.onnx_runtime import ONNX_FILES, onnx_predictor

MAX_BYTES = 16_000_000


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, About]:
    release = newest_release()
    assert release is not None
    folder = tmp_path_factory.mktemp("released")
    return folder, read_bundle(release, folder, 10 * MAX_BYTES)


def test_it_is_small_enough_for_the_repository() -> None:
    release = newest_release()

    assert release is not None
    assert release.stat().st_size <= MAX_BYTES


def test_its_model_answers_as_where_it_was_exported(unpacked: tuple[Path, About]) -> None:
    folder, about = unpacked
    classes = read_json(folder / LABELS, list[str])

    check_probe(onnx_predictor(folder / ONNX_FILES["onnx"], 48, len(classes)), about, folder)
    assert classes == ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    assert about.tags["dataset"] == "fer2013.zip"


def test_int8_answers_as_float32_does_on_drawn_faces(unpacked: tuple[Path, About]) -> None:
    folder, _ = unpacked
    classes = read_json(folder / LABELS, list[str])
    drawn = draw_faces(DrawnSettings(faces=140, noise=8.0), tuple(classes), 48, seed=0)
    faces = np.stack([face for _, face in drawn])

    exact, small = (onnx_predictor(folder / name, 48, len(classes)).predict(faces, 64) for name in ONNX_FILES.values())

    assert np.abs(exact - small).mean() < 0.01
    assert (exact.argmax(axis=1) == small.argmax(axis=1)).mean() > 0.9


@pytest.mark.shared
@pytest.mark.duration
@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"the real FER2013 is not at {ARCHIVE}")
def test_its_figures_are_those_of_a_new_evaluation(unpacked: tuple[Path, About]) -> None:
    folder, _ = unpacked
    said = read_json(folder / METRICS, dict[str, float])
    settings = load_settings([], {"dataset": {"path": str(ARCHIVE)}})
    faces = ingest_faces(settings.dataset, settings.seed)
    prepared = preprocess_faces(faces, settings.preprocessing, settings.seed)[0]
    rows = prepared.rows(TEST)

    found = onnx_predictor(folder / ONNX_FILES["onnx"], 48, 7).predict(prepared.images[rows], 64).argmax(axis=1)

    right = found == prepared.labels[rows]
    clean = ~prepared.table[IN_TRAINING].to_numpy(dtype=bool)[rows]
    assert right.mean() == pytest.approx(said["test/accuracy"], abs=0.001)
    assert right[clean].mean() == pytest.approx(said["test_clean/accuracy"], abs=0.001)
