"""Backbones: convolutional networks whose weights come from ImageNet, a file or nowhere."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from configs.errors import UserError
from vision.model.weight_files import IMAGENET, RANDOM, WAY_OUT, check_hdf5, check_weights

BN_MOMENTUM = 0.9  # Keras's 0.99 needs some 500 batches to follow; an epoch may have fewer than 50
COMPACT_BLOCKS = ((32, 2), (64, 2), (128, 3), (256, 3))  # (channels, convolutions)

Append = Callable[[Any], Any]


def vgg19(side: int, weights: str, batch_norm_blocks: tuple[int, ...], dtype: str) -> Append:
    """Return a function that appends VGG-19's convolutions to (n, side, side, 1) float32 grey levels of 0-255.

    Architecture: Simonyan & Zisserman 2014. Blocks in `batch_norm_blocks` normalise between each convolution
    and its ReLU, with the given kernels kept. Layers are named block1_conv1, block1_conv1_bn, ...
    """
    source = _load_vgg19(side, weights)

    def append(pixels: Any) -> Any:
        x = keras.layers.Concatenate(name="gray_to_rgb")([pixels] * 3)
        x = keras.applications.vgg19.preprocess_input(x)
        copies = []
        for layer in source.layers[1:]:
            block = int(layer.name[len("block")])
            if isinstance(layer, keras.layers.MaxPooling2D):
                x = keras.layers.MaxPooling2D(2, name=layer.name, dtype=dtype)(x)
                continue
            convolution = keras.layers.Conv2D(layer.filters, 3, padding="same", name=layer.name, dtype=dtype)
            copies.append((convolution, layer))
            x = _normalise_and_activate(convolution(x), layer.name, block in batch_norm_blocks, dtype)
        for convolution, layer in copies:
            convolution.set_weights(layer.get_weights())
        return x

    return append


def vgg_compact(side: int, weights: str, batch_norm_blocks: tuple[int, ...], dtype: str) -> Append:
    """Return a function that appends a small VGG of 1.9 million weights to (n, side, side, 1) grey levels of 0-255.

    Four blocks of two or three 3x3 convolutions, each with batch normalisation (Ioffe & Szegedy 2015) whatever
    `batch_norm_blocks` says; it is trained from scratch. Raises UserError for other weights than none.
    """
    if weights != RANDOM:
        raise UserError(
            f"classifier.weights {weights} is not for vgg_compact, which is trained from scratch; set it to none, or "
            "to the .keras file of a whole classifier"
        )

    def append(pixels: Any) -> Any:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled_levels")(pixels)
        for block, (channels, convolutions) in enumerate(COMPACT_BLOCKS, start=1):
            for number in range(1, convolutions + 1):
                name = f"block{block}_conv{number}"
                x = keras.layers.Conv2D(
                    channels, 3, padding="same", kernel_initializer="he_normal", name=name, dtype=dtype
                )(x)
                x = _normalise_and_activate(x, name, True, dtype)
            x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool", dtype=dtype)(x)
        return x

    return append


def _normalise_and_activate(x: Any, name: str, batch_norm: bool, dtype: str) -> Any:
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"{name}_bn", dtype=dtype)(x)
    return keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)


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
        check_hdf5(Path(weights), Path(weights).stat().st_size)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of layers that it leaves as they were
            return build(weights)
    except (ValueError, OSError, KeyError, TypeError, Warning) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"classifier.weights {weights} does not fit VGG-19: {reason}; {WAY_OUT}") from error


BACKBONES: dict[str, Callable[[int, str, tuple[int, ...], str], Append]] = {
    "vgg19": vgg19,
    "vgg_compact": vgg_compact,
}
