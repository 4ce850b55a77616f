import logging
from pathlib import Path

import numpy as np
import pytest

from configs.settings import Settings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.data.folds import assign_folds
from vision.training import out_of_fold
from vision.training.out_of_fold import FoldAnswers, FoldRequest, hold_out, join_answers, predict_fold
from vision.training.recipe import TrainingPaths

pytestmark = pytest.mark.usefixtures("with_toy_backbone", "without_curves")


def request_fold(settings: Settings, fold: int) -> FoldRequest:
    audit = settings.audit.model_copy(update={"folds": 2, "epochs": 1, "batch_size": 16})
    return FoldRequest(
        fold=fold, audit=audit, classifier=settings.classifier, augmentation=settings.augmentation,
        training=settings.training, seed=settings.seed,
    )  # fmt: skip


@pytest.fixture
def paths(tmp_path: Path) -> TrainingPaths:
    return TrainingPaths(tmp_path / "best.keras", tmp_path / "features", tmp_path / "states")


def test_the_network_learns_from_the_other_folds_and_answers_its_own(
    few_faces: FaceSet, toy_settings: Settings, paths: TrainingPaths, monkeypatch: pytest.MonkeyPatch, eagerly: None
) -> None:
    learned: list[np.ndarray] = []
    train = out_of_fold.train_classifier

    def spy(data, *given, **named):  # type: ignore[no-untyped-def]
        learned.append(data.faces.rows(TRAIN))
        assert (data.faces.rows(VALIDATION) == few_faces.rows(VALIDATION)).all()
        return train(data, *given, **named)

    monkeypatch.setattr(out_of_fold, "train_classifier", spy)
    folds = assign_folds(few_faces, 2, toy_settings.seed)

    answers = predict_fold(few_faces, request_fold(toy_settings, 1), paths)

    rows = few_faces.rows(TRAIN)
    assert (rows[answers.places] == rows[folds == 1]).all()
    assert (learned[0] == rows[folds == 0]).all()
    assert answers.probabilities.shape == (len(answers.places), 7)
    assert np.allclose(answers.probabilities.sum(axis=1), 1)


def test_before_the_first_fold_it_is_said_how_long_all_take(
    few_faces: FaceSet, toy_settings: Settings, paths: TrainingPaths, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, eagerly: None,
) -> None:  # fmt: skip
    monkeypatch.setattr(out_of_fold, "estimate_training", lambda *given: 120.0)

    with caplog.at_level(logging.INFO, "vision"):
        predict_fold(few_faces, request_fold(toy_settings, 0), paths)

    lines = [record.getMessage() for record in caplog.records]
    told = next(place for place, line in enumerate(lines) if "about 2 min each, about 4 min in all" in line)
    assert told < next(place for place, line in enumerate(lines) if line.startswith("fold 1 of 2"))


def test_an_audit_learns_from_labels_as_they_are_without_a_teacher_or_weights_that_know_the_faces(
    small_settings: Settings,
) -> None:
    training = small_settings.training.model_copy(
        update={
            "distillation": small_settings.training.distillation.model_copy(update={"teacher": "teacher.keras"}),
            "doubtful_weight": 0.5,
            "minutes": 10.0,
            "imbalance": "oversample",
        }
    )
    classifier = small_settings.classifier.model_copy(update={"weights": "all.keras"})
    settings = small_settings.model_copy(update={"training": training, "classifier": classifier})

    recipe = request_fold(settings, 0).recipe

    assert recipe.classifier.weights == "none"
    assert recipe.training.distillation.teachers == ()
    assert (recipe.training.doubtful_weight, recipe.training.minutes, recipe.training.imbalance) == (1.0, 0.0, "none")


def test_held_out_faces_are_in_a_split_of_their_own(few_faces: FaceSet) -> None:
    rows = few_faces.rows(TRAIN)[:5]

    held = hold_out(few_faces, rows)

    assert (held.rows("held_out") == rows).all()
    assert (held.rows(TRAIN) == few_faces.rows(TRAIN)[5:]).all()
    assert len(few_faces.rows("held_out")) == 0


def test_the_answers_of_all_folds_are_joined_in_the_order_of_the_faces() -> None:
    first = FoldAnswers(np.array([0, 3]), np.array([[0.1, 0.9], [0.4, 0.6]], np.float32), "")
    second = FoldAnswers(np.array([1, 2]), np.array([[0.2, 0.8], [0.3, 0.7]], np.float32), "")

    joined = join_answers([second.table(("happy", "place")), first.table(("happy", "place"))])

    assert joined[:, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
