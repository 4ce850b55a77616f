"""Raw faces: what every reader yields, and what folder names say about a face."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from vision.data.faces import TEST, TRAIN, UNASSIGNED, VALIDATION
from vision.data.reading_notes import ReadingNotes

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "publictest": VALIDATION,
    "test": TEST,
    "testing": TEST,
    "privatetest": TEST,
}
EXPECTED = "class folders such as train/happy/*.png, a .zip or .tar.gz of them, or a Kaggle CSV"
MORE_IMAGES = "raise dataset.max_images if that is right"


@dataclass(frozen=True)
class RawFace:
    """A face before decoding.

    `payload` is an encoded image (bytes), grey levels separated by spaces (str), decoded grey levels (2-D
    uint8 array), or the reason why there is nothing to decode (an exception).
    """

    source: str
    label: str
    split: str
    payload: bytes | str | np.ndarray[Any, Any] | Exception


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


def label_and_split(path: PurePosixPath) -> tuple[str, str]:
    """Return the name of the folder that holds the image, and the split that a folder above it names."""
    folders = path.parent.parts
    label = folders[-1] if folders else ""
    splits = [SPLIT_NAMES[name.lower()] for name in folders[:-1] if name.lower() in SPLIT_NAMES]
    return label, splits[-1] if splits else UNASSIGNED
