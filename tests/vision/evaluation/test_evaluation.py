from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.data.preprocessing import IN_TRAINING
from vision.evaluation.evaluation import EvaluationReport, evaluate_classifier
from vision.evaluation.generalization import draw_like
from vision.evaluation.uncertainty import fit_threshold
from vision.model.classifier import build_classifier, predict, with_temperature


@pytest.fixture(scope="module")
def classifier(small_settings: Settings) -> keras.Model:
    keras.utils.set_random_seed(1)
    narrow = small_settings.classifier.model_copy(update={"width": 0.0625})
    return with_temperature(build_classifier(narrow, 32, 7), 1.3)


@pytest.fixture(scope="module")
def faces(prepared: FaceSet) -> FaceSet:
    """The drawn faces, of which the first three of the test split were training faces too."""
    table = prepared.table.copy()
    table.loc[prepared.rows("test")[:3], IN_TRAINING] = True
    return replace(prepared, table=table)


@pytest.fixture(scope="module")
def evaluated(
    classifier: keras.Model, faces: FaceSet, small_settings: Settings
) -> tuple[EvaluationReport, pd.DataFrame]:
    return evaluate_classifier(classifier, faces, small_settings.evaluation, seed=1)


def test_scores_are_of_all_test_faces_and_of_the_clean_ones(
    evaluated: tuple[EvaluationReport, pd.DataFrame], faces: FaceSet
) -> None:
    report, table = evaluated

    assert report.faces == {"test": len(faces.rows("test")), "test_clean": len(faces.rows("test")) - 3}
    assert report.scores["test"]["accuracy"] == pytest.approx(table["correct"].mean())
    assert report.scores["test_clean"]["accuracy"] == pytest.approx(table["correct"][3:].mean())
    assert np.trace(report.confusion) == table["correct"].sum()
    assert set(report.scores) == {"test", "test_clean", "test_tta", "test_clean_tta"}


def test_the_table_has_what_the_classifier_answers_for_each_test_face(
    evaluated: tuple[EvaluationReport, pd.DataFrame],
    classifier: keras.Model,
    faces: FaceSet,
    small_settings: Settings,
) -> None:
    table, test = evaluated[1], faces.take(faces.rows("test"))
    expected = predict(classifier, test.images, small_settings.evaluation.batch_size)

    shares = table[[f"probability_{name}" for name in faces.class_names]].to_numpy()
    np.testing.assert_allclose(shares, expected, atol=1e-5)
    assert table["source"].tolist() == test.table["source"].tolist()
    assert table["predicted"].tolist() == [faces.class_names[code] for code in expected.argmax(axis=1)]
    assert table["in_training"].sum() == 3


def test_numbers_are_of_every_score_and_class(evaluated: tuple[EvaluationReport, pd.DataFrame]) -> None:
    report, numbers = evaluated[0], evaluated[0].numbers()

    assert numbers["test_clean/macro_f1"] == report.scores["test_clean"]["macro_f1"]
    assert numbers["test_class/recall_happy"] == report.classes["test"][3]["recall"]
    assert numbers["test_clean/faces"] == report.faces["test_clean"]


def test_slices_are_of_the_test_faces_as_the_classifier_answers_them(
    evaluated: tuple[EvaluationReport, pd.DataFrame], classifier: keras.Model, faces: FaceSet
) -> None:
    report, table = evaluated
    found, test = report.robustness, faces.take(faces.rows("test"))
    mirrored = predict(classifier, test.images[:, :, ::-1], 32).argmax(axis=1)

    assert (found.faces, found.accuracy) == (len(test), pytest.approx(table["correct"].mean()))
    assert found.slices[0].accuracy == pytest.approx((mirrored == test.labels).mean())
    assert report.numbers()["test_slice/mirrored_accuracy"] == found.slices[0].accuracy


def test_sets_and_gap_are_of_the_answers_on_validation_and_training_faces(
    evaluated: tuple[EvaluationReport, pd.DataFrame], classifier: keras.Model, faces: FaceSet
) -> None:
    report, held_out = evaluated[0], faces.take(faces.rows("validation"))
    validation = predict(classifier, held_out.images, 32)
    rows = draw_like(faces, held_out.labels, seed=1)
    learned = predict(classifier, faces.images[rows], 32).argmax(axis=1) == faces.labels[rows]

    assert report.uncertainty.conformal is not None
    assert report.uncertainty.conformal.threshold == pytest.approx(fit_threshold(validation, held_out.labels, 0.9))
    gap = learned.mean() - (validation.argmax(axis=1) == held_out.labels).mean()
    assert report.numbers()["generalization_gap"] == pytest.approx(gap)
    assert report.uncertainty.covered["test"][0].accuracy == report.scores["test"]["accuracy"]


def test_every_figure_is_drawn_and_the_report_comes_back_from_its_facts(
    evaluated: tuple[EvaluationReport, pd.DataFrame],
) -> None:
    report = evaluated[0]

    assert set(report.figures) == {
        "confusion_matrix.png", "class_scores.png", "reliability.png", "worst_mistakes.png", "grad_cam.png",
        "robustness.png", "coverage.png",
    }  # fmt: skip
    assert all(png.startswith(b"\x89PNG") for png in report.figures.values())
    assert EvaluationReport.from_facts(report.facts(), report.figures) == report


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Keep what the grids would show instead of drawing anything."""
    shown: dict[str, Any] = {}
    for name in ("confusion", "class_scores", "reliability", "robustness", "coverage"):
        monkeypatch.setattr(f"vision.evaluation.plots.{name}", lambda *_: b"")
    monkeypatch.setattr("vision.evaluation.evaluation.grad_cam", lambda model, images, classes: images)
    monkeypatch.setattr("vision.evaluation.plots.explanations", lambda *given: shown.update(explained=given) or b"")
    monkeypatch.setattr(
        "vision.evaluation.evaluation.labelled_faces", lambda *given: shown.update(mistakes=given) or b""
    )
    return shown


def test_mistakes_are_shown_surest_first_and_explanations_class_by_class(
    undrawn: dict[str, Any], classifier: keras.Model, faces: FaceSet, small_settings: Settings
) -> None:
    _, table = evaluate_classifier(classifier, faces, small_settings.evaluation, seed=1)

    worst = table[~table["correct"]].nlargest(24, "confidence", keep="first").iloc[0]
    titles = undrawn["mistakes"][1]
    label, share = worst["label"], worst[f"probability_{worst['label']}"]
    assert titles[0] == f"{label} {share:.0%}\n→ {worst['predicted']} {worst['confidence']:.0%}"
    assert len(titles) == min(24, (~table["correct"]).sum())
    present = set(faces.table["label"].iloc[faces.rows("test")])
    explained = [title.split("\n")[0] for title in undrawn["explained"][2]]
    assert explained == [name for name in faces.class_names if name in present]


def test_without_clean_test_faces_there_are_no_scores_of_them(
    undrawn: dict[str, Any], classifier: keras.Model, prepared: FaceSet, small_settings: Settings
) -> None:
    learnt = replace(prepared, table=prepared.table.assign(**{IN_TRAINING: True}))
    plain = small_settings.evaluation.model_copy(update={"test_time_augmentation": "none"})

    report, _ = evaluate_classifier(classifier, learnt, plain, seed=1)

    assert set(report.scores) == set(report.faces) == set(report.classes) == {"test"}
    assert not report.has_clean


def test_a_class_without_a_test_face_has_no_metric_and_does_not_lower_the_averages(
    undrawn: dict[str, Any], classifier: keras.Model, prepared: FaceSet, small_settings: Settings
) -> None:
    table = prepared.table
    some = prepared.take(np.flatnonzero((table["split"] == "test") & (table["label"] != "disgust")))
    plain = small_settings.evaluation.model_copy(update={"test_time_augmentation": "none"})

    report, _ = evaluate_classifier(classifier, some, plain, seed=1)

    numbers = report.numbers()
    assert report.untested == ("disgust",)
    assert (report.generalization, report.uncertainty.conformal) == (None, None)  # of test faces alone
    assert [name for name in numbers if name.startswith("test_class/recall_")] == [
        f"test_class/recall_{name}" for name in prepared.class_names if name != "disgust"
    ]
    recalls = [row["recall"] for row in report.classes["test"] if row["count"]]
    assert numbers["test/balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert numbers["test/worst_class_recall"] == min(recalls)
