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


def soften(teachers: Sequence[keras.Model], faces: FaceSet, temperature: float) -> np.ndarray[Any, Any]:
    """Return the mean of the teachers' (training faces, classes) float32 probabilities at a temperature.

    Each is the average over a face and its mirror image. Raises UserError where a teacher knows other classes.
    """
    classes = len(faces.class_names)
    for teacher in teachers:
        if teacher.output_shape[-1] != classes:
            raise UserError(
                f"training.distillation.teacher gives {teacher.output_shape[-1]} classes, the faces have {classes}; "
                "name a teacher that was trained on the same classes"
            )
    networks = [keras.Model(teacher.input, teacher.get_layer("head_logits").output) for teacher in teachers]
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
