"""The classifier: raw grey levels in, everything that the network needs done inside, logits out."""

import keras
import numpy as np

from configs.settings import ClassifierSettings
from vision.backbones import BACKBONES, BN_MOMENTUM

FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"
POOLINGS = {
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    "flatten": keras.layers.Flatten,
}


def build_classifier(
    settings: ClassifierSettings, side: int, classes: int, dtype: str = FLOAT32, weights: str | None = None
) -> keras.Model:
    """Build a model from (n, height, width, 1) grey levels of 0-255 to (n, classes) float32 logits.

    Faces of any size are resized to `side`; grayscale becomes RGB and is normalised as the backbone's weights
    expect. `dtype` is a Keras dtype policy; `weights` replaces `settings.weights`. Raises UserError where
    the weights cannot be loaded.
    """
    faces = keras.Input((None, None, 1), name="faces")
    pixels = keras.layers.Resizing(side, side, antialias=True, name="resize")(faces)
    x = keras.layers.Concatenate(name="gray_to_rgb")([pixels] * 3)
    x = BACKBONES[settings.backbone](side, weights or settings.weights, settings.batch_norm_blocks, dtype)(x)
    x = POOLINGS[settings.pooling](name="head_pooling", dtype=dtype)(x)
    if settings.head_batch_norm:
        x = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, name="head_bn", dtype=dtype)(x)
    for position, units in enumerate(settings.dense_units, start=1):
        x = keras.layers.Dropout(settings.dropout, name=f"head_dropout{position}", dtype=dtype)(x)
        x = keras.layers.Dense(
            units,
            activation="relu",
            kernel_regularizer=keras.regularizers.L2(settings.l2),
            name=f"head_dense{position}",
            dtype=dtype,
        )(x)
    x = keras.layers.Dropout(settings.dropout, name="head_dropout", dtype=dtype)(x)
    logits = keras.layers.Dense(
        classes, kernel_regularizer=keras.regularizers.L2(settings.l2), name="head_logits", dtype="float32"
    )(x)
    return keras.Model(faces, logits, name="face_emotion_classifier")


def with_temperature(classifier: keras.Model, temperature: float) -> keras.Model:
    """Append division by the temperature and softmax: (n, height, width, 1) grey levels to probabilities.

    Only built-in layers are used, so that the saved model loads in Keras's safe mode.
    """
    scaled = keras.layers.Rescaling(1.0 / temperature, name="temperature")(classifier.output)
    probabilities = keras.layers.Softmax(name="probabilities")(scaled)
    return keras.Model(classifier.input, probabilities, name=classifier.name)


def input_side(classifier: keras.Model) -> int:
    """Return the pixels a side to which a classifier that build_classifier made resizes its faces."""
    return int(classifier.get_layer("resize").height)


def set_trainable(classifier: keras.Model, parts: tuple[str, ...]) -> None:
    """Make the named parts (all, head, block1 ... block5) trainable and freeze the rest."""
    for layer in classifier.layers:
        layer.trainable = "all" in parts or layer.name.split("_")[0] in parts


def predict(classifier: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the (n, classes) float32 output for (n, height, width) uint8 faces, a batch in memory at a time."""
    batches = [
        keras.ops.convert_to_numpy(
            classifier.predict_on_batch(images[start : start + batch_size, ..., None].astype(np.float32))
        )
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(batches).astype(np.float32)
