"""The classifier: raw grey levels in, everything that the network needs done inside, logits out."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np

from configs.errors import UserError
from configs.training_settings import ClassifierSettings
from vision.model.backbones import BACKBONES, BN_MOMENTUM
from vision.model.weight_files import (
    RANDOM,
    check_classifier_file,
    check_layers,
    is_classifier_file,
    not_a_classifier,
)

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

    Faces of any size are resized to `side`, of which the network sees the middle `crop_size` pixels;
    normalisation is as the backbone's weights expect. `dtype` is a Keras dtype policy; `weights` replaces
    `settings.weights`. Raises UserError where the weights cannot be loaded.
    """
    weights = weights or settings.weights
    whole = is_classifier_file(weights)
    faces = keras.Input((None, None, 1), name="faces")
    x = keras.layers.Resizing(side, side, antialias=True, name="resize")(faces)
    seen = settings.crop_size or side
    if seen < side:
        before = (side - seen) // 2
        after = side - seen - before
        x = keras.layers.Cropping2D(((before, after), (before, after)), name="crop")(x)
    backbone = BACKBONES[settings.backbone]
    x = backbone(settings, seen, RANDOM if whole else weights, dtype)(x)
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
    classifier = keras.Model(faces, logits, name="face_emotion_classifier")
    if whole:
        _copy_weights(classifier, weights)
    return classifier


def given_classifier(file: str, side: int, classes: int) -> keras.Model:
    """Return the network in a .keras file as it is, up to its logits, whatever the settings say of it.

    Raises UserError where it cannot be loaded or was trained for faces of another side or other classes.
    """
    saved = load_classifier(Path(file), "classifier.weights")
    found = input_side(saved), int(saved.output_shape[-1])
    if found != (side, classes):
        raise UserError(
            f"classifier.weights {file} takes faces of {found[0]} pixels and gives {found[1]} classes; these faces "
            f"have {side} pixels (preprocessing.image_size) and {classes} classes"
        )
    return keras.Model(saved.input, saved.get_layer("head_logits").output, name=saved.name)


def _copy_weights(classifier: keras.Model, file: str) -> None:
    """Take over the weights of a saved classifier, layer by layer. Raises UserError where one is missing or differs."""
    saved = load_classifier(Path(file), "classifier.weights")
    for layer in classifier.layers:
        if not layer.weights:
            continue
        try:
            layer.set_weights(saved.get_layer(layer.name).get_weights())
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"classifier.weights {file} does not fit the classifier that the settings describe, at the layer "
                f"{layer.name}: {reason}; set classifier.* as they were in its training"
            ) from error


def load_safely(file: Path) -> keras.Model:
    """Load a .keras file that Keras wrote, in its safe mode: nothing in it is run, imported or unpickled.

    Its network is first built without memory for its weights, in case it claims more of them than the file holds.
    Raises errors of many kinds for any other file.
    """
    config, numbers = check_classifier_file(file)
    with keras.StatelessScope(initialize_variables=False):
        claimed = keras.saving.deserialize_keras_object(config, safe_mode=True).count_params()
    if claimed > numbers:
        raise ValueError(f"its network has {claimed} weights, the file holds {numbers}")
    return keras.saving.load_model(file, safe_mode=True)


def load_classifier(file: Path, setting: str) -> keras.Model:
    """Load a saved classifier in Keras's safe mode. Raises UserError, which names `setting`, where that fails."""
    try:
        found = load_safely(file)
        check_layers({layer.name for layer in found.layers})
    except Exception as error:  # Keras, h5py and zipfile each raise their own
        raise not_a_classifier(file, setting, error) from error
    return found


def load_teacher(teacher: str) -> keras.Model:
    """Return the classifier in the .keras file that a setting names."""
    return load_classifier(Path(teacher), "training.distillation.teacher")


def settle_batch_norm(classifier: keras.Model, images: np.ndarray[Any, Any]) -> None:
    """Set inserted batch normalisation so that it changes nothing yet, on (n, height, width) uint8 faces.

    An inserted layer would otherwise shift and scale every channel that the kernels after it were learned on.
    Here its statistics are those of the faces and its scale and offset undo them, but for one factor a layer: the
    root mean square of the activations becomes 1, as training from scratch has it. ReLU and pooling pass such a
    factor on, and the next convolution's bias is divided by it. So the features are those of the network without
    batch normalisation, times one constant. (The idea is that of Net2Net, Chen et al. 2016: change the
    architecture, keep the function.)
    """
    convolutions = [layer for layer in classifier.layers if isinstance(layer, keras.layers.Conv2D)]
    names = {layer.name for layer in classifier.layers}
    for layer in convolutions:
        if f"{layer.name}_bn" in names:
            inserted = classifier.get_layer(f"{layer.name}_bn")
            ones, zeros = np.ones(layer.filters), np.zeros(layer.filters)
            inserted.set_weights([ones, zeros, zeros, ones - inserted.epsilon])  # passes everything on
    outputs = keras.Model(classifier.input, [layer.output for layer in convolutions])
    found = outputs.predict_on_batch(images[..., None].astype(np.float32))
    scale = 1.0
    for layer, output in zip(convolutions, found, strict=True):
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias / scale])
        if f"{layer.name}_bn" not in names:
            continue
        normalise = classifier.get_layer(f"{layer.name}_bn")
        values = np.asarray(output, dtype=np.float64)
        mean, variance = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
        level = math.sqrt(np.square(np.maximum(values, 0.0)).mean()) or 1.0
        moving_mean, moving_variance = mean / scale, variance / scale**2
        gamma = np.sqrt(moving_variance + normalise.epsilon) * scale / level
        normalise.set_weights([gamma, mean / level, moving_mean, moving_variance])
        scale = level


def with_temperature(classifier: keras.Model, temperature: Any, offset: Any = 0.0) -> keras.Model:
    """Append division by the temperature, an offset and softmax: (n, height, width, 1) grey levels to probabilities.

    Temperature and offset are one number each, or (classes,) numbers.
    Only built-in layers are used, so that the saved model loads in Keras's safe mode.
    """
    scale = (1.0 / np.asarray(temperature)).tolist()
    scaled = keras.layers.Rescaling(scale, np.asarray(offset).tolist(), name="temperature")(classifier.output)
    probabilities = keras.layers.Softmax(name="probabilities")(scaled)
    return keras.Model(classifier.input, probabilities, name=classifier.name)


def input_side(classifier: keras.Model) -> int:
    """Return the pixels a side to which a classifier that build_classifier made resizes its faces."""
    return int(classifier.get_layer("resize").height)


def set_trainable(classifier: keras.Model, parts: tuple[str, ...]) -> None:
    """Make the named parts (all, head, block1 ... block5) trainable and freeze the rest.

    Raises UserError for a part that the classifier does not have.
    """
    known = {"all", *(_part_of(layer) for layer in classifier.layers if layer.weights)}
    if missing := sorted(set(parts) - known):
        raise UserError(
            f"training.phases: trainable {', '.join(missing)} is not a part of this backbone; it has "
            f"{', '.join(sorted(known))}"
        )
    for layer in classifier.layers:
        layer.trainable = is_trainable(layer, parts)


def is_trainable(layer: keras.Layer, parts: tuple[str, ...]) -> bool:
    """Return whether `set_trainable` makes a layer trainable where it is given these parts."""
    return "all" in parts or _part_of(layer) in parts


def _part_of(layer: keras.Layer) -> str:
    return str(layer.name).split("_")[0]


def predict(classifier: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the (n, classes) float32 output for (n, height, width) uint8 faces, a batch in memory at a time."""
    batches = [
        keras.ops.convert_to_numpy(
            classifier.predict_on_batch(images[start : start + batch_size, ..., None].astype(np.float32))
        )
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(batches).astype(np.float32)
