import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TRAIN, FaceSet
from vision.model.classifier import build_classifier
from vision.training.distillation import soften

pytestmark = pytest.mark.usefixtures("with_toy_backbone")


def teacher_of(settings: Settings, biases: list[float]) -> keras.Model:
    """Return a classifier whose logits are these, whatever it sees."""
    teacher = build_classifier(settings.classifier, side=32, classes=len(biases))
    head = teacher.get_layer("head_logits")
    head.set_weights([np.zeros_like(head.get_weights()[0]), np.array(biases)])
    return teacher


def test_a_teachers_answers_are_probabilities_at_the_temperature(prepared: FaceSet, toy_settings: Settings) -> None:
    teacher = teacher_of(toy_settings, [0, 0, 0, 0, 0, 2, 0])

    softened = soften([teacher], prepared, temperature=2.0)

    assert softened.shape == (len(prepared.rows(TRAIN)), 7)
    np.testing.assert_allclose(softened[:, 5], np.e / (np.e + 6), rtol=1e-5)


def test_several_teachers_teach_the_mean_of_their_probabilities(prepared: FaceSet, toy_settings: Settings) -> None:
    teachers = [teacher_of(toy_settings, [0, 0, 0, 0, 0, 2, 0]), teacher_of(toy_settings, [0] * 7)]

    softened = soften(teachers, prepared, temperature=2.0)

    np.testing.assert_allclose(softened[:, 5], (np.e / (np.e + 6) + 1 / 7) / 2, rtol=1e-5)


def test_a_teacher_of_other_classes_is_refused(prepared: FaceSet, toy_settings: Settings) -> None:
    with pytest.raises(UserError, match="teacher gives 5 classes, the faces have 7"):
        soften([teacher_of(toy_settings, [0.0] * 5)], prepared, temperature=1.0)
