import keras
import numpy as np

from configs.settings import Settings
from vision.evaluation.grad_cam import explained_layer, grad_cam
from vision.model.classifier import build_classifier, with_temperature


def test_heat_lies_on_the_face_between_zero_and_one(small_settings: Settings) -> None:
    keras.utils.set_random_seed(0)
    classifier = with_temperature(build_classifier(small_settings.classifier, side=32, classes=7), 1.0)
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
    classifier = build_classifier(small_settings.classifier, side=48, classes=7)

    assert explained_layer(classifier, 48) == "block4_conv4_relu"
