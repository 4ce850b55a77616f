"""Grey levels: pictures of more than 8 bits a channel and transparent ones become plain 8-bit pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

USED_OF_16 = 64  # of 256: below it, 14 bits or fewer are used
NEUTRAL = 128  # grey level that shows through transparent pixels
# what may be white: of fractions, and of 8, 10, 12, 14 and 16 bits
WHITE_LEVELS = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)


@dataclass(frozen=True)
class WhiteLevels:
    """Which grey level is white in pictures of more than 8 bits: one for all modes, or by Pillow's mode; 0: guessed."""

    of_all: float = 0.0
    by_mode: Mapping[str, float] = field(default_factory=dict)

    def of(self, mode: str) -> float:
        """Return the level for a mode, 0 where it is not known."""
        return self.of_all or self.by_mode.get(mode, 0.0)


GUESSED = WhiteLevels()


def blend_alpha(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return the picture on a neutral grey, and whether any pixel was transparent.

    What a transparent pixel hides is not in the picture that people see.
    """
    if not image.has_transparency_data:
        return image, False
    layers = image.convert("RGBA")
    alpha = layers.getchannel("A")
    opaque = layers.convert("RGB")
    if alpha.getextrema()[0] == 255:
        return opaque, False
    background = Image.new("RGB", image.size, (NEUTRAL, NEUTRAL, NEUTRAL))
    background.paste(opaque, mask=alpha)
    return background, True


def is_deep(mode: str) -> bool:
    """Say whether Pillow's mode has more than 8 bits a channel."""
    return mode.startswith(("I", "F"))


def check_colour_bits(mode: str, raw_mode: str, image: Image.Image) -> None:
    """Raise ValueError for colours or transparency of 16 bits of which the upper bits are not used.

    Pillow keeps the upper 8 bits of each channel; of 10 or 12 bits in 16 those are nearly black. `raw_mode` is what it
    says of the file, `mode` and `image` are what it makes of that.
    """
    if ";16" not in raw_mode or is_deep(mode):
        return
    if np.asarray(image.convert("RGB")).max() < USED_OF_16:
        raise ValueError(
            "a colour image of 16 bits a channel of which the upper bits are not used; save it with 8 bits, or as grey"
        )


def scale_levels(image: Image.Image, known: WhiteLevels, section: str = "dataset") -> tuple[Image.Image, float]:
    """Return a picture of a deep mode with 8 bits, and the level that became white.

    Where it is not known, it is the smallest of WHITE_LEVELS that holds every pixel. Raises ValueError for levels that
    are not finite, and for those above 65535 where white is not known. `section` names the settings that apply.
    """
    levels = np.asarray(image, dtype=np.float64)
    if not np.isfinite(levels).all():
        raise ValueError("grey levels that are not finite numbers")
    white = known.of(image.mode) or guess_white(image.mode, levels, section)
    return Image.fromarray(np.clip(levels / white * 255, 0, 255).astype(np.uint8)), white


def guess_white(mode: str, levels: np.ndarray[Any, Any], section: str = "dataset") -> float:
    """Return the smallest of WHITE_LEVELS that holds all levels: 10 and 12 bits are often kept in 16-bit files."""
    highest = float(levels.max())
    held = [white for white in WHITE_LEVELS if highest <= white and (white > 1.0 or mode == "F")]
    if not held:
        named = section == "dataset"  # no other has a setting for it
        way_out = "say with dataset.white_level which one is white" if named else "save it with at most 16 bits"
        raise ValueError(f"grey levels up to {highest:g}, above 65535; {way_out}")
    return held[0]
