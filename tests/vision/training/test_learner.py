import keras
import numpy as np

from configs.settings import Settings
from vision.training.distillation import Teachers
from vision.training.learner import AugmentedClassifier
from vision.training.losses import build_loss


def reader_of_classes() -> keras.Model:
    """Return a network whose logits are the pixels: a face shows its class, mixed faces show both in their shares."""
    pixels = keras.Input((2, 2, 1))
    return keras.Model(pixels, keras.layers.Flatten()(pixels))


def test_accuracy_under_mixup_is_of_the_class_that_has_the_larger_part(small_settings: Settings) -> None:
    labels = np.eye(4, dtype=np.float32)[np.arange(32) % 4]
    loss = build_loss(small_settings.training, np.ones(4))
    model = AugmentedClassifier(reader_of_classes(), [keras.layers.MixUp(0.9, seed=0)], loss)
    model.compile("sgd", metrics=[keras.metrics.CategoricalAccuracy("accuracy")])

    history = model.fit({"images": labels.reshape(-1, 2, 2, 1), "labels": labels}, labels, batch_size=32, verbose=0)

    assert history.history["accuracy"] == [1.0]


def test_a_teachers_probabilities_reach_the_loss_in_training_only(small_settings: Settings) -> None:
    distillation = small_settings.training.distillation.model_copy(update={"weight": 1.0, "temperature": 1.0})
    training = small_settings.training.model_copy(update={"distillation": distillation, "label_smoothing": 0.0})
    model = AugmentedClassifier(reader_of_classes(), [], build_loss(training, np.ones(4)))
    model.compile("sgd")
    labels = np.eye(4, dtype=np.float32)
    inputs = {"images": 9 * labels.reshape(-1, 2, 2, 1), "labels": labels}

    right = float(model.evaluate(inputs, labels, verbose=0))
    wrong = float(model.evaluate({**inputs, "teacher": labels[::-1]}, labels, verbose=0))

    assert right < 0.01
    assert wrong > 8


class Mirrored(keras.layers.Layer):  # type: ignore[misc]
    """An augmentation that always does something."""

    def call(self, data: dict[str, object], training: bool = False) -> dict[str, object]:
        return {**data, "images": keras.ops.flip(data["images"], axis=(1, 2))}


def test_teachers_of_every_view_see_the_faces_after_augmentation_and_in_training_only(small_settings: Settings) -> None:
    network = reader_of_classes()
    named = keras.Model(network.input, keras.layers.Rescaling(1.0, name="head_logits")(network.output))
    loss = build_loss(small_settings.training, np.ones(4))
    model = AugmentedClassifier(reader_of_classes(), [Mirrored()], loss, Teachers([named], 1.0, "float32"))
    labels = np.eye(4, dtype=np.float32)
    inputs = {"images": 9 * labels.reshape(-1, 2, 2, 1), "labels": labels}

    answers = keras.ops.convert_to_numpy(model(inputs, training=True)["teacher"])

    np.testing.assert_array_equal(answers.argmax(axis=1), [3, 2, 1, 0])
    assert "teacher" not in model(inputs)
