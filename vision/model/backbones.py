"""Backbones: convolutional networks whose weights come from ImageNet, a file or nowhere."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from configs.errors import UserError
from configs.training_settings import ClassifierSettings
from vision.model.weight_files import IMAGENET, RANDOM, WAY_OUT, check_hdf5, check_weights

BN_MOMENTUM = 0.9  # Keras's 0.99 needs some 500 batches to follow; an epoch may have fewer than 50
VGG19_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # (channels, convolutions)
COMPACT_BLOCKS = ((32, 2), (64, 2), (128, 3), (256, 3))
LANES = 16  # float32 numbers in a register of AVX-512

Append = Callable[[Any], Any]


def vgg19(settings: ClassifierSettings, side: int, weights: str, dtype: str) -> Append:
    """Return a function that appends VGG-19's convolutions to (n, side, side, 1) float32 grey levels of 0-255.

    Architecture: Simonyan & Zisserman 2014, each convolution with `settings.width` times its channels (`widened`;
    Howard et al. 2017 call it alpha). Blocks in `settings.batch_norm_blocks` normalise between each convolution and its
    ReLU, with the given kernels kept. Layers are named block1_conv1, block1_conv1_bn, ... Raises UserError where the
    weights cannot be loaded.
    """
    source = _load_vgg19(side, weights)

    def append(pixels: Any) -> Any:
        x = keras.layers.Concatenate(name="gray_to_rgb")([pixels] * 3)
        x = keras.applications.vgg19.preprocess_input(x)
        x, convolutions = _append_blocks(x, VGG19_BLOCKS, settings.width, settings.batch_norm_blocks, dtype)
        if source is not None:
            for convolution in convolutions:
                convolution.set_weights(source.get_layer(convolution.name).get_weights())
        return x

    return append


def vgg_compact(settings: ClassifierSettings, side: int, weights: str, dtype: str) -> Append:
    """Return a function that appends a small VGG of 1.9 million weights to (n, side, side, 1) grey levels of 0-255.

    Four blocks of two or three 3x3 convolutions, each with batch normalisation (Ioffe & Szegedy 2015) whatever
    `settings.batch_norm_blocks` says; it is trained from scratch. Raises UserError for other weights than none.
    """
    if weights != RANDOM:
        raise UserError(
            f"classifier.weights {weights} is not for vgg_compact, which is trained from scratch; set it to none, or "
            "to the .keras file of a whole classifier"
        )

    def append(pixels: Any) -> Any:
        x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled_levels")(pixels)
        every_block = tuple(range(1, len(COMPACT_BLOCKS) + 1))
        return _append_blocks(x, COMPACT_BLOCKS, settings.width, every_block, dtype, "he_normal")[0]

    return append


def widened(channels: int, width: float) -> int:
    """Return so many times the channels, in whole groups of LANES where there are as many.

    A processor computes LANES float32 channels at a time (AVX-512; AVX2 half of them). 0.7 times the compact network,
    with 45, 90 and 179 channels, trained more slowly than the whole one.
    """
    exact = channels * width
    return max(1, round(exact)) if exact < LANES else LANES * round(exact / LANES)


def _append_blocks(
    x: Any,
    blocks: tuple[tuple[int, int], ...],
    width: float,
    batch_norm_blocks: tuple[int, ...],
    dtype: str,
    initializer: str = "glorot_uniform",
) -> tuple[Any, list[keras.layers.Conv2D]]:
    """Append blocks of 3x3 convolutions, each block with a pooling at its end; also return the convolutions."""
    convolutions = []
    for block, (channels, count) in enumerate(blocks, start=1):
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            convolution = keras.layers.Conv2D(
                widened(channels, width),
                3,
                padding="same",
                kernel_initializer=initializer,
                name=name,
                dtype=dtype,
            )
            convolutions.append(convolution)
            x = convolution(x)
            if block in batch_norm_blocks:
                x = keras.layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"{name}_bn", dtype=dtype)(x)
            x = keras.layers.ReLU(name=f"{name}_relu", dtype=dtype)(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool", dtype=dtype)(x)
    return x, convolutions


def _load_vgg19(side: int, weights: str) -> keras.Model | None:
    """Return Keras's VGG-19 with the weights, or None for random ones."""

    def build(value: str) -> keras.Model:
        return keras.applications.VGG19(include_top=False, weights=value, input_shape=(side, side, 3))

    check_weights(weights)
    if weights == RANDOM:
        return None
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


# The name that `classifier.backbone` uses, and what builds it from settings, side, weights and dtype
BACKBONES: dict[str, Callable[[ClassifierSettings, int, str, str], Append]] = {
    "vgg19": vgg19,
    "vgg_compact": vgg_compact,
}
