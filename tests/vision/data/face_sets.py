"""Face sets of two classes whose splits and copies a test chooses."""

from typing import Any

import numpy as np
import pandas as pd

from vision.data.faces import TABLE_COLUMNS, FaceSet

NAMES = ("happy", "sad")


def face_set(*rows: tuple[str, str, str], **columns: Any) -> FaceSet:
    """Rows are split, label and exact hash; the images are all different."""
    table = pd.DataFrame(rows, columns=["split", "label", "exact_hash"])
    filled = {name: 0 if kind.startswith(("int", "float")) else "" for name, kind in TABLE_COLUMNS.items()}
    table = table.assign(**{name: value for name, value in filled.items() if name not in table})
    table = table.assign(standard_deviation=50.0, source=[f"face{n}" for n in range(len(rows))], **columns)
    images = np.arange(len(rows), dtype=np.uint8)[:, None, None] * np.ones((1, 32, 32), np.uint8)
    return FaceSet("made", "folder", NAMES, images, table[list(TABLE_COLUMNS)].astype(TABLE_COLUMNS))


def many(split: str, count: int, copies: int = 1) -> list[tuple[str, str, str]]:
    return [(split, NAMES[n % 2], f"{split}{n // copies // 2}{n % 2}") for n in range(count)]
