"""Distillation: what a teacher says of the training faces (Hinton et al. 2015)."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from configs.errors import UserError
from vision.data.faces import TRAIN, FaceSet
from vision.model.classifier import predict

logger = logging.getLogger(__name__)

FACES_IN_MEMORY = 8192  # while the teacher sees them
BATCH = 256
CONVOLUTIONAL = (
    keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.MaxPooling2D
)  # fmt: skip


class Teachers(keras.layers.Layer):  # type: ignore[misc]
    """The mean of teachers' probabilities for what the student sees (Beyer et al. 2022 call it function matching).

    Takes (n, side, side, 1) float32 grey levels and gives (n, classes) float32 at a temperature. `dtype` is the Keras
    policy in which the teachers compute; none of their weights is trained.
    """

    def __init__(self, teachers: Sequence[keras.Model], temperature: float, dtype: str) -> None:
        super().__init__()
        self.networks = [_recast(network, dtype) for network in _networks(teachers)]
        self.temperature = temperature
        self.trainable = False  # of all that it has by now
        self.built = True

    def call(self, faces: Any) -> Any:
        answers = [
            keras.ops.softmax(keras.ops.cast(network(faces, training=False), "float32") / self.temperature)
            for network in self.networks
        ]
        return keras.ops.stop_gradient(keras.ops.mean(keras.ops.stack(answers), axis=0))


def _recast(network: keras.Model, dtype: str) -> keras.Model:
    """Return a copy whose convolutions, and what lies between them, compute in a dtype policy."""

    def recast(layer: Any) -> Any:
        changed = {"dtype": dtype} if isinstance(layer, CONVOLUTIONAL) else {}
        return type(layer).from_config({**layer.get_config(), **changed})

    copy = keras.models.clone_model(network, clone_function=recast)
    copy.set_weights(network.get_weights())
    return copy


def _networks(teachers: Sequence[keras.Model]) -> list[keras.Model]:
    """Return the teachers up to their logits."""
    return [keras.Model(teacher.input, teacher.get_layer("head_logits").output) for teacher in teachers]


def check_classes(teachers: Sequence[keras.Model], classes: int) -> None:
    """Raise UserError where a teacher knows other classes."""
    for teacher in teachers:
        if teacher.output_shape[-1] != classes:
            raise UserError(
                f"training.distillation.teacher gives {teacher.output_shape[-1]} classes, the faces have {classes}; "
                "name a teacher that was trained on the same classes"
            )


def soften(teachers: Sequence[keras.Model], faces: FaceSet, temperature: float) -> np.ndarray[Any, Any]:
    """Return the mean of the teachers' (training faces, classes) float32 probabilities at a temperature.

    Each is the average over a face and its mirror image.
    """
    networks = _networks(teachers)
    rows = faces.rows(TRAIN)
    logger.info("distillation: predicting %d training faces with %d teachers", len(rows), len(networks))
    softened = []
    for block in np.array_split(rows, math.ceil(len(rows) / FACES_IN_MEMORY)):
        images = faces.images[block]
        answers = [
            softmax(predict(network, view, BATCH) / temperature, axis=1)
            for network in networks
            for view in (images, images[:, :, ::-1])
        ]
        softened.append(np.mean(answers, axis=0))
    return np.concatenate(softened)
