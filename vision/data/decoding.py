"""Decoding: an encoded picture becomes upright pixels of 8 bits, and grey levels are measured and resized."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from vision.data.grey_levels import GUESSED, WhiteLevels, blend_alpha, check_colour_bits, is_deep, scale_levels
from vision.data.image_formats import open_image

Image.MAX_IMAGE_PIXELS = None  # settings say what is too large, and Pillow's warning cannot be silenced in a thread


class DecodedImage(NamedTuple):
    """A picture of 8 bits a channel, and what became of it: the original's mode, the level that is white, blending.

    `white` is 0 where the original had 8 bits.
    """

    image: Image.Image
    mode: str
    white: float = 0.0
    blended: bool = False


def decode_image(
    payload: bytes, max_pixels: int, section: str = "dataset", whites: WhiteLevels = GUESSED
) -> DecodedImage:
    """Return an encoded image, upright, of 8 bits a channel and without transparency.

    Raises ValueError for what is not an image and for more than `max_pixels`, which are not decoded, and Pillow's
    errors for damaged images. `section` names the settings that hold the limit.
    """
    if not payload:
        raise ValueError("the file is empty (0 bytes)")
    with open_image(payload) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} pixels, more than {section}.max_pixels {max_pixels}")
        mode, raw_mode = image.mode, str(image.tile[0].args) if image.tile else ""
        upright = ImageOps.exif_transpose(image)
        if is_deep(mode):
            scaled, white = scale_levels(upright, whites, section)
            return DecodedImage(scaled, mode, white)
        check_colour_bits(mode, raw_mode, upright)
        shown, blended = blend_alpha(upright)
        return DecodedImage(shown, mode, blended=blended)


def measure_levels(pixels: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return mean, standard_deviation and sharpness (variance of the Laplacian) of (height, width) uint8 levels."""
    mean, deviation = cv2.meanStdDev(pixels)
    return {
        "mean": float(mean[0, 0]),
        "standard_deviation": float(deviation[0, 0]),
        "sharpness": float(cv2.Laplacian(pixels, cv2.CV_64F).var()),
    }


def resize_face(pixels: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """Return (side, side) uint8; area averaging for shrinking, cubic interpolation for enlarging."""
    if pixels.shape == (side, side):
        return pixels
    method = cv2.INTER_AREA if max(pixels.shape) > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method))
