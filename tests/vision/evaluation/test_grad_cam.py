import keras
import numpy as np

from configs.settings import Settings
from configs.training_settings import ClassifierSettings
from vision.data.faces import FaceSet
from vision.evaluation.grad_cam import explained_layer, grad_cam
from vision.model.classifier import build_classifier, predict, with_temperature


def narrow(settings: Settings) -> ClassifierSettings:
    """A VGG-19 of a sixteenth of the channels."""
    return settings.classifier.model_copy(update={"width": 0.0625})


def test_heat_lies_on_the_face_between_zero_and_one(small_settings: Settings) -> None:
    keras.utils.set_random_seed(0)
    classifier = with_temperature(build_classifier(narrow(small_settings), side=32, classes=7), 1.0)
    faces = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)

    heat = grad_cam(classifier, faces, np.array([0, 3, 6]))

    assert (heat.shape, heat.dtype) == ((3, 32, 32), np.float32)
    assert heat.min() >= 0
    assert heat.max() <= 1


def test_the_heat_is_where_the_evidence_is() -> None:
    # a network that sees class 1 in bright pixels only
    faces = keras.Input((None, None, 1))
    x = keras.layers.ReLU(name="seen")(keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(faces))
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(2, name="head_logits", use_bias=False)(pooled)
    model = keras.Model(faces, logits)
    model.get_layer("head_logits").set_weights([np.array([[-1.0, 1.0]])])
    bright = np.zeros((1, 16, 16), np.uint8)
    bright[0, 2:6, 2:6] = 255

    heat = grad_cam(model, bright, np.array([1]))[0]

    assert heat[3, 3] == 1.0
    assert heat[12, 12] == 0.0


def test_the_explained_map_is_large_enough_to_point_at_something(small_settings: Settings) -> None:
    classifier = build_classifier(narrow(small_settings), side=48, classes=7)

    assert explained_layer(classifier, 48) == "block4_conv4_relu"


def test_a_classifier_answers_after_an_explanation_as_it_did_before(small_settings: Settings, drawn: FaceSet) -> None:
    model = with_temperature(build_classifier(narrow(small_settings), 32, 7), 1.3)
    before = predict(model, drawn.images[:4], 4)

    grad_cam(model, drawn.images[:4], np.zeros(4, dtype=int))

    np.testing.assert_array_equal(predict(model, drawn.images[:4], 4), before)
