import numpy as np
import pytest

from configs.settings import Settings
from configs.training_settings import EvaluationSettings
from vision.evaluation.metrics import bootstrap_intervals, class_table, confusion, score_predictions


@pytest.fixture
def settings(small_settings: Settings) -> EvaluationSettings:
    return small_settings.evaluation.model_copy(update={"bootstrap_samples": 2000})


PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]])
LABELS = np.array([0, 1, 1, 2])


def test_scores_are_those_worked_out_by_hand(settings: EvaluationSettings) -> None:
    scores = score_predictions(PROBABILITIES, LABELS, settings, seed=0)

    assert scores["accuracy"] == 0.75
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert scores["balanced_accuracy"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert scores["worst_class_recall"] == 0.5
    assert scores["top2_accuracy"] == 1.0
    assert scores["negative_log_likelihood"] == pytest.approx(-np.log([0.8, 0.7, 0.4, 0.7]).mean())


def test_a_class_without_test_faces_does_not_count_in_macro_averages(settings: EvaluationSettings) -> None:
    scores = score_predictions(PROBABILITIES[:3], LABELS[:3], settings, seed=0)

    assert scores["macro_f1"] == pytest.approx(2 / 3)


def test_the_bootstrap_interval_is_that_of_a_proportion(settings: EvaluationSettings) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 2000)
    predicted = np.where(random.random(2000) < 0.7, labels, (labels + 1) % 4)
    accuracy = (predicted == labels).mean()

    found = bootstrap_intervals(predicted, labels, 4, settings, seed=1)

    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 2000)
    assert found["accuracy_low"] == pytest.approx(accuracy - half, abs=0.004)
    assert found["accuracy_high"] == pytest.approx(accuracy + half, abs=0.004)
    assert found["macro_f1_low"] < found["macro_f1_high"]


def test_the_class_table_counts_true_labels() -> None:
    table = class_table(PROBABILITIES, LABELS, ("a", "b", "c"))

    assert table["count"].to_dict() == {"a": 1, "b": 2, "c": 1}
    assert table.loc["b", "precision"] == 1.0
    assert table.loc["a", "precision"] == 0.5


def test_rows_of_the_confusion_matrix_are_true_labels() -> None:
    np.testing.assert_array_equal(confusion(PROBABILITIES, LABELS), [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
