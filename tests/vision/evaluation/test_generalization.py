import numpy as np
import pandas as pd
import pytest

from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.evaluation import generalization
from vision.evaluation.generalization import draw_like, measure_generalization


@pytest.fixture
def faces() -> FaceSet:
    """900 training faces, equally of three classes, and 100 validation faces, of which 70 are happy."""
    labels = np.concatenate([np.repeat([0, 1, 2], 300), np.repeat([0, 1, 2], [70, 20, 10])])
    names = ("happy", "sad", "angry")
    images = np.repeat(labels, 4).reshape(-1, 2, 2).astype(np.uint8)  # a face's grey level is its label
    table = {"label": [names[code] for code in labels], "split": [TRAIN] * 900 + [VALIDATION] * 100}
    return FaceSet("made up", "folder", names, images, pd.DataFrame(table))


def test_training_faces_have_the_class_shares_of_validation(faces: FaceSet) -> None:
    rows = draw_like(faces, faces.labels[faces.rows(VALIDATION)], seed=1)

    # 300 happy faces are 70% of 428
    assert np.bincount(faces.labels[rows]).tolist() == [300, 85, 42]
    assert len(set(rows)) == len(rows)
    assert rows.max() < 900


def test_no_more_than_the_most_are_drawn_and_by_the_seed(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generalization, "MOST_FACES", 100)
    labels = faces.labels[faces.rows(VALIDATION)]

    assert np.bincount(faces.labels[draw_like(faces, labels, seed=1)]).tolist() == [70, 20, 10]
    assert (draw_like(faces, labels, seed=1) == draw_like(faces, labels, seed=1)).all()
    assert (draw_like(faces, labels, seed=1) != draw_like(faces, labels, seed=2)).any()


def test_a_class_without_a_training_face_is_left_out(faces: FaceSet) -> None:
    kept = faces.take(np.flatnonzero((faces.table["label"] != "angry") | (faces.table["split"] == VALIDATION)))

    rows = draw_like(kept, kept.labels[kept.rows(VALIDATION)], seed=1)

    assert np.bincount(kept.labels[rows], minlength=3).tolist() == [300, 85, 0]


def test_the_gap_is_training_less_validation_accuracy_on_the_same_shares(faces: FaceSet) -> None:
    def knows_all_but_angry(images: np.ndarray) -> np.ndarray:
        return np.eye(3)[images[:, 0, 0] % 2]

    validation = np.eye(3)[np.ones(100, dtype=int)]  # always sad

    found = measure_generalization(knows_all_but_angry, faces, validation, seed=1)

    assert found.training_faces == 427
    assert found.training_accuracy == pytest.approx(385 / 427)
    assert found.validation_accuracy == 0.2
    assert found.gap == pytest.approx(385 / 427 - 0.2)


def test_the_same_answers_on_both_have_a_gap_of_zero(faces: FaceSet) -> None:
    validation = np.eye(3)[faces.labels[faces.rows(VALIDATION)]]

    found = measure_generalization(lambda images: np.eye(3)[images[:, 0, 0]], faces, validation, seed=1)

    assert (found.training_accuracy, found.gap) == (1.0, 0.0)
