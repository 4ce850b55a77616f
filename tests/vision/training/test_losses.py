import keras
import numpy as np
import pytest

from configs.settings import Settings
from vision.training.losses import build_loss

LOGITS = np.array([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]], dtype=np.float32)
LABELS = {"labels": np.eye(3, dtype=np.float32)[[0, 1]]}
COUNTS = np.array([80, 15, 5])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def loss_of(settings: Settings, targets: dict[str, np.ndarray], **changes: object) -> float:
    training = settings.training.model_copy(update={"label_smoothing": 0.0, **changes})
    return float(keras.ops.convert_to_numpy(build_loss(training, COUNTS)(targets, LOGITS)))


def test_focal_loss_counts_sure_predictions_less(small_settings: Settings) -> None:
    of_label = softmax(LOGITS)[[0, 1], [0, 1]]

    value = loss_of(small_settings, LABELS, imbalance="focal", focal_gamma=2.0)

    assert value == pytest.approx(float((-((1 - of_label) ** 2) * np.log(of_label)).mean()), rel=1e-4)


def test_balanced_softmax_adds_the_logarithm_of_each_classs_share_to_its_logit(small_settings: Settings) -> None:
    adjusted = softmax(LOGITS + 0.5 * np.log(COUNTS / 100))[[0, 1], [0, 1]]

    value = loss_of(small_settings, LABELS, imbalance="balanced_softmax", logit_adjustment=0.5)

    assert value == pytest.approx(float(-np.log(adjusted).mean()), rel=1e-4)


def test_distillation_mixes_labels_and_a_teacher_at_its_temperature(small_settings: Settings) -> None:
    teacher = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], dtype=np.float32)
    settings = small_settings.training.distillation.model_copy(update={"weight": 0.25, "temperature": 2.0})
    hard = -np.log(softmax(LOGITS))[[0, 1], [0, 1]]
    soft = -(teacher * np.log(softmax(LOGITS / 2))).sum(axis=1)

    value = loss_of(small_settings, {**LABELS, "teacher": teacher}, distillation=settings)

    assert value == pytest.approx(float((0.75 * hard + 0.25 * 4 * soft).mean()), rel=1e-4)


def test_without_a_teacher_distillation_is_the_loss_on_the_labels(small_settings: Settings) -> None:
    taught = small_settings.training.distillation.model_copy(update={"weight": 1.0})
    of_label = softmax(LOGITS)[[0, 1], [0, 1]]

    value = loss_of(small_settings, LABELS, distillation=taught)

    assert value == pytest.approx(float(-np.log(of_label).mean()), rel=1e-5)
