"""Backbones: convolutional networks whose weights come from ImageNet, a file or nowhere."""

import warnings
from collections.abc import Callable
from typing import Any

import keras

from configs.errors import UserError
from vision.weights import IMAGENET, RANDOM, WAY_OUT, check_weights

BN_MOMENTUM = 0.9  # Keras's 0.99 needs some 500 batches to follow; an epoch may have fewer than 50


def vgg19(side: int, weights: str, batch_norm_blocks: tuple[int, ...], dtype: str) -> Callable[[Any], Any]:
    """Return a function that appends VGG-19's convolutions to (n, side, side, 3) float32 RGB of 0-255.

    Architecture: Simonyan & Zisserman 2014. Blocks in `batch_norm_blocks` normalise between each convolution
    and its ReLU, with the given kernels kept. Layers are named block1_conv1, block1_conv1_bn, ...
    """
    source = _load_vgg19(side, weights)

    def append(pixels: Any) -> Any:
        x = keras.applications.vgg19.preprocess_input(pixels)
        copies = []
        for layer in source.layers[1:]:
            block = int(layer.name[len("block")])
            if isinstance(layer, keras.layers.MaxPooling2D):
                x = keras.layers.MaxPooling2D(2, name=layer.name, dtype=dtype)(x)
                continue
            convolution = keras.layers.Conv2D(layer.filters, 3, padding="same", name=layer.name, dtype=dtype)
            copies.append((convolution, layer))
            x = convolution(x)
            if block in batch_norm_blocks:
                x = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"{layer.name}_bn", dtype=dtype)(x)
            x = keras.layers.ReLU(name=f"{layer.name}_relu", dtype=dtype)(x)
        for convolution, layer in copies:
            convolution.set_weights(layer.get_weights())
        return x

    return append


def _load_vgg19(side: int, weights: str) -> keras.Model:
    def build(value: str | None) -> keras.Model:
        return keras.applications.VGG19(include_top=False, weights=value, input_shape=(side, side, 3))

    check_weights(weights)
    if weights == RANDOM:
        return build(None)
    if weights == IMAGENET:
        try:
            return build(IMAGENET)
        except Exception as error:  # keras raises a bare Exception where the download fails
            raise UserError(f"classifier.weights imagenet could not be downloaded ({error}); {WAY_OUT}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that it leaves as they were
            return build(weights)
    except (ValueError, OSError, KeyError, TypeError, Warning) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"classifier.weights {weights} does not fit VGG-19: {reason}; {WAY_OUT}") from error


BACKBONES: dict[str, Callable[[int, str, tuple[int, ...], str], Callable[[Any], Any]]] = {"vgg19": vgg19}
