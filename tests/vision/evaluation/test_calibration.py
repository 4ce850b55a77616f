import numpy as np
import pytest
from scipy.special import softmax

from vision.evaluation.calibration import expected_calibration_error, fit_by_class, fit_temperature, reliability_curve


def test_the_temperature_that_was_multiplied_in_is_found_again() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, size=(20_000, 5))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(5, p=p) for p in chances])

    assert fit_temperature(logits * 3.0, labels).temperature == pytest.approx(3.0, rel=0.05)


def draw(logits: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return labels that are right as often as the logits say."""
    chances = softmax(logits, axis=1).cumsum(axis=1)
    return np.asarray((chances > random.random((len(logits), 1))).argmax(axis=1))


def test_temperatures_and_offsets_by_class_are_found_again() -> None:
    random = np.random.default_rng(0)
    logits, temperatures, offsets = random.normal(0, 2, (40_000, 3)), np.array([0.5, 1.0, 2.0]), np.array([1, 0, -1])
    labels = draw(logits, random)

    found = fit_by_class((logits - offsets) * temperatures, labels)

    np.testing.assert_allclose(found.temperatures, temperatures, rtol=0.06)
    np.testing.assert_allclose(found.offsets - found.offsets.mean(), offsets, atol=0.06)
    np.testing.assert_allclose(found.temperature, 1.0, rtol=0.03)


def test_few_faces_hardly_move_the_classes_apart() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1, (6, 3))

    found = fit_by_class(logits, np.array([0, 0, 0, 1, 1, 1]))

    assert np.abs(found.offsets).max() < 0.5
    assert found.offsets[2] == 0
    assert found.temperatures[2] == fit_temperature(logits, np.array([0, 0, 0, 1, 1, 1])).temperatures[2]


def test_the_calibration_error_is_the_gap_weighted_by_count() -> None:
    probabilities = np.array([[0.9, 0.1]] * 8 + [[0.6, 0.4]] * 2)
    labels = np.array([0] * 4 + [1] * 4 + [0, 1])

    # accuracy is 0.5 in both bins: gaps of 0.4 for eight faces and 0.1 for two
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(0.8 * 0.4 + 0.2 * 0.1)


def test_full_confidence_falls_into_the_last_bin() -> None:
    curve = reliability_curve(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), bins=15)

    assert curve.index.tolist() == [14]
    assert curve.loc[14, ["confidence", "accuracy", "count"]].tolist() == [1.0, 0.5, 2]
