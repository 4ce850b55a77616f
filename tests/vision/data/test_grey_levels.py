import cv2
import numpy as np
import pytest
from PIL import Image

from vision.data.grey_levels import GUESSED, WhiteLevels, blend_alpha, scale_levels
from vision.data.ingestion import decode_face


def with_colour_key() -> Image.Image:
    """A picture of which one grey level is transparent, as in a PNG without an alpha channel."""
    image = Image.new("L", (4, 4), 200)
    image.info["transparency"] = 200
    return image


@pytest.mark.parametrize(
    ("image", "level", "blended"),
    [
        (Image.new("RGBA", (4, 4), (200, 200, 200, 0)), 128, True),
        (Image.new("RGBA", (4, 4), (200, 200, 200, 128)), 164, True),
        (Image.new("LA", (4, 4), (10, 0)), 128, True),
        (with_colour_key(), 128, True),
        (Image.new("RGBA", (4, 4), (200, 200, 200, 255)), 200, False),
        (Image.new("RGB", (4, 4), (200, 200, 200)), 200, False),
    ],
    ids=["hidden", "half", "grey", "colour key", "opaque", "without alpha"],
)
def test_a_neutral_grey_shows_through_transparent_pixels(image: Image.Image, level: int, blended: bool) -> None:
    shown, was_blended = blend_alpha(image)

    np.testing.assert_allclose(np.asarray(shown.convert("L")), level, atol=1)
    assert was_blended is blended


@pytest.mark.parametrize(
    ("highest", "white"), [(255, 255), (256, 1023), (1000, 1023), (4000, 4095), (16000, 16383), (60000, 65535)]
)
def test_white_is_the_highest_level_of_the_bits_that_are_used(highest: int, white: int) -> None:
    image = Image.fromarray(np.array([[0, highest]], dtype=np.uint16))

    scaled, found = scale_levels(image, GUESSED)

    assert found == white
    assert np.asarray(scaled).tolist() == [[0, highest * 255 // white]]


def test_a_level_of_white_that_is_known_is_not_guessed() -> None:
    image = Image.fromarray(np.array([[0, 1000]], dtype=np.uint16))

    by_mode = scale_levels(image, WhiteLevels(by_mode={"I;16": 4095.0}))
    of_all = scale_levels(image, WhiteLevels(of_all=2000.0, by_mode={"I;16": 4095.0}))

    assert (by_mode[1], of_all[1]) == (4095, 2000)
    assert np.asarray(of_all[0]).tolist() == [[0, 127]]


def test_levels_of_more_than_16_bits_are_refused_with_the_setting() -> None:
    image = Image.fromarray(np.array([[0, 70000]], dtype=np.int32))

    with pytest.raises(ValueError, match=r"up to 70000.*dataset\.white_level"):
        scale_levels(image, GUESSED)
    with pytest.raises(ValueError, match="up to 70000, above 65535; save it with at most 16 bits"):
        scale_levels(image, GUESSED, "inference")  # it has no such setting


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize(("ending", "channels"), [(".png", 3), (".png", 4), (".tiff", 3)])
def test_colours_of_fewer_bits_than_their_file_are_refused_not_darkened(ending: str, channels: int, bits: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 48 * 48 * channels).reshape(48, 48, channels).astype(np.uint16)
    if channels == 4:
        levels[..., 3] = 65535

    with pytest.raises(ValueError, match="16 bits a channel of which the upper bits are not used"):
        decode_face(cv2.imencode(ending, levels)[1].tobytes(), 10_000)
    full = cv2.imencode(ending, (levels[..., :3] * 2 ** (16 - bits)).astype(np.uint16))[1].tobytes()
    assert decode_face(full, 10_000).pixels.max() > 250
