"""Raw faces: what every reader yields."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vision.data.reading_notes import ReadingNotes

EXPECTED = "class folders such as train/happy/*.png, a .zip or .tar.gz of them, or a Kaggle CSV"
MORE_IMAGES = "raise dataset.max_images if that is right"
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels


@dataclass(frozen=True)
class RawFace:
    """A face before decoding.

    `payload` is an encoded image (bytes), grey levels separated by spaces (str), decoded grey levels (2-D
    uint8 array), or the reason why there is nothing to decode (an exception). Without a `box` all of the image is the
    face.
    """

    source: str
    label: str
    split: str
    payload: bytes | str | np.ndarray[Any, Any] | Exception
    box: Box | None = None


@dataclass(frozen=True)
class Reading:
    """What a reader returns: its faces, read when they are asked for, and their number where it is known.

    The notes are complete when all faces were read.
    """

    name: str
    form: str
    count: int | None
    faces: Iterator[RawFace]
    notes: ReadingNotes = field(default_factory=ReadingNotes)
