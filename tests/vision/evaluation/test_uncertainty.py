import numpy as np
import pytest

from vision.evaluation.uncertainty import (
    ConformalScore,
    Covered,
    accuracy_by_coverage,
    cover,
    fit_threshold,
    measure_uncertainty,
    score_sets,
)


def made_up(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of four classes, and labels drawn by them."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(4, 0.5), count)
    return probabilities, np.array([random.choice(4, p=row) for row in probabilities])


def test_the_surest_faces_are_kept_and_scored() -> None:
    sure = np.linspace(0.99, 0.6, 10)
    probabilities = np.stack([sure, 1 - sure], axis=1)[[3, 0, 1, 2, 9, 8, 7, 6, 5, 4]]
    labels = (probabilities[:, 0] < 0.75).astype(int)  # the answer is always 0, so the four least sure are wrong

    rows = cover(probabilities, labels)

    assert rows[0] == Covered(1.0, 0.6, pytest.approx(0.6))
    assert [row.coverage for row in rows] == [1.0, 0.9, 0.8, 0.7, 0.5]
    assert [row.accuracy for row in rows] == pytest.approx([6 / 10, 6 / 9, 6 / 8, 6 / 7, 1.0])
    assert rows[-1].confidence == pytest.approx(sure[4])


def test_the_curve_ends_at_the_accuracy_of_all_faces() -> None:
    probabilities, labels = made_up(200, 0)

    curve = accuracy_by_coverage(probabilities, labels)

    assert len(curve) == 200
    assert curve[-1] == (probabilities.argmax(axis=1) == labels).mean()
    assert curve[:50].mean() > curve[-1]


def test_one_face_is_kept_of_the_fewest() -> None:
    assert cover(np.array([[0.3, 0.7]]), np.array([1]))[-1] == Covered(0.5, 1.0, 0.7)


def test_the_threshold_is_the_quantile_with_one_face_more() -> None:
    right = np.arange(1, 20) / 20  # probabilities of the right class of 19 faces
    probabilities = np.stack([right, 1 - right], axis=1)

    # the 18th of 19 wrongnesses, because ceil(20 x 0.9) is 18: all but one face keep their class
    assert fit_threshold(probabilities, np.zeros(19, dtype=int), 0.9) == pytest.approx(0.1)


def test_too_few_faces_put_every_emotion_in_every_set() -> None:
    probabilities, labels = made_up(8, 0)

    assert fit_threshold(probabilities, labels, 0.9) == 0.0
    assert score_sets(probabilities, labels, 0.0) == ConformalScore(1.0, 4.0)


def test_sets_hold_the_right_emotion_as_often_as_promised() -> None:
    validation, test = made_up(4000, 1), made_up(4000, 2)

    found = measure_uncertainty(test, {"test": np.ones(4000, dtype=bool)}, validation).conformal

    assert found is not None
    assert found.scores["test"].coverage == pytest.approx(0.9, abs=0.02)
    assert 1 < found.scores["test"].mean_size < 4


def test_subsets_are_scored_apart_with_one_threshold() -> None:
    probabilities, labels = made_up(100, 3)
    clean = np.arange(100) < 60
    found = measure_uncertainty(
        (probabilities, labels), {"test": np.ones(100, dtype=bool), "test_clean": clean}, made_up(50, 4)
    )

    assert found.conformal is not None
    expected = score_sets(probabilities[:60], labels[:60], found.conformal.threshold)
    assert found.conformal.scores["test_clean"] == expected
    assert found.covered["test_clean"] == cover(probabilities[:60], labels[:60])
    numbers = found.numbers()
    assert numbers["test_clean_coverage/accuracy_at_70"] == found.covered["test_clean"][3].accuracy
    assert numbers["test_clean/conformal_coverage"] == expected.coverage
    assert numbers["test_clean/conformal_set_size"] == expected.mean_size


def test_without_a_validation_face_there_are_no_sets() -> None:
    found = measure_uncertainty(made_up(20, 0), {"test": np.ones(20, dtype=bool)}, None)

    assert found.conformal is None
    assert not [name for name in found.numbers() if "conformal" in name]
