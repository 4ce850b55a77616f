from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import softmax

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TRAIN, FaceSet
from vision.model.classifier import build_classifier, predict
from vision.training.checkpoints import WEIGHTS
from vision.training.distillation import Teachers, check_classes, soften
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

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


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_teachers_of_every_view_give_what_their_answers_once_would_be(
    prepared: FaceSet, toy_settings: Settings, dtype: str
) -> None:
    teachers = [build_classifier(toy_settings.classifier, side=32, classes=7) for _ in range(2)]
    faces = prepared.images[:5, ..., None].astype(np.float32)

    answers = keras.ops.convert_to_numpy(Teachers(teachers, 2.0, dtype)(faces))

    expected = np.mean([softmax(np.asarray(teacher.predict_on_batch(faces)) / 2.0, axis=1) for teacher in teachers], 0)
    np.testing.assert_allclose(answers, expected, rtol=1e-4 if dtype == "float32" else 0.05)


def test_nothing_of_a_teacher_is_trained(toy_settings: Settings) -> None:
    teachers = Teachers([build_classifier(toy_settings.classifier, side=32, classes=7)], 2.0, "float32")

    assert teachers.networks[0].weights
    assert not teachers.networks[0].trainable_weights


def test_a_teacher_of_other_classes_is_refused(toy_settings: Settings) -> None:
    with pytest.raises(UserError, match="teacher gives 5 classes, the faces have 7"):
        check_classes([teacher_of(toy_settings, [0.0] * 5)], classes=7)


@pytest.mark.usefixtures("eagerly", "without_curves")
@pytest.mark.parametrize("every_view", [False, True])
def test_a_student_learns_from_its_teacher(
    prepared: FaceSet, toy_settings: Settings, tmp_path: Path, every_view: bool
) -> None:
    teacher = teacher_of(toy_settings, [0, 0, 0, 0, 0, 20, 0])  # whatever it sees, it says sad
    taught = {"weight": 1.0, "temperature": 1.0, "every_view": every_view}
    distillation = toy_settings.training.distillation.model_copy(update=taught)
    changes = {"trainable": ("all",), "epochs": 1, "learning_rate": 0.1}
    phase = toy_settings.training.phases[0].model_copy(update=changes)
    training = toy_settings.training.model_copy(
        update={"distillation": distillation, "phases": (phase,), "batch_size": 16}
    )
    recipe = Recipe(toy_settings.classifier, toy_settings.augmentation, training, 3)
    paths = TrainingPaths(tmp_path / "b.keras", tmp_path / "features", tmp_path / "states")
    rows = prepared.rows(TRAIN)
    even = dict.fromkeys(prepared.class_names, 1.0)

    student, _ = train_classifier(TrainingData(prepared, even, (teacher,)), recipe, paths)

    answers = predict(student, prepared.images[rows], 32).argmax(axis=1)
    assert (answers == 5).mean() > (prepared.labels[rows] == 5).mean() + 0.1
    (state,) = (tmp_path / "states").rglob(WEIGHTS)
    with np.load(state) as kept:  # nothing of a teacher
        assert len(kept.files) < 3 * len(teacher.weights)
