import numpy as np
import pytest

from vision.evaluation.calibration import expected_calibration_error, fit_temperature, reliability_curve


def test_the_temperature_that_was_multiplied_in_is_found_again() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, size=(20_000, 5))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(5, p=p) for p in chances])

    assert fit_temperature(logits * 3.0, labels) == pytest.approx(3.0, rel=0.05)


def test_the_calibration_error_is_the_gap_weighted_by_count() -> None:
    probabilities = np.array([[0.9, 0.1]] * 8 + [[0.6, 0.4]] * 2)
    labels = np.array([0] * 4 + [1] * 4 + [0, 1])

    # accuracy is 0.5 in both bins: gaps of 0.4 for eight faces and 0.1 for two
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(0.8 * 0.4 + 0.2 * 0.1)


def test_full_confidence_falls_into_the_last_bin() -> None:
    curve = reliability_curve(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]), bins=15)

    assert curve.index.tolist() == [14]
    assert curve.loc[14, ["confidence", "accuracy", "count"]].tolist() == [1.0, 0.5, 2]
