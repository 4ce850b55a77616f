"""FaceSet: faces in one memory-mapped array, with a table of where each came from."""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vision.data.face_table import table_blocks

TRAIN, VALIDATION, TEST, UNASSIGNED = "train", "validation", "test", "unassigned"
SPLITS = (TRAIN, VALIDATION, TEST)

TABLE_COLUMNS: dict[str, str] = {
    "source": "str",  # where the face came from, as the reader names it
    "label": "str",  # class name, or what the source says where that is not a class
    "split": "str",  # train, validation, test or unassigned
    "width": "int32",  # of the original, in pixels; 0 if it could not be read
    "height": "int32",
    "mode": "str",  # Pillow's name of the original's pixel format
    "mean": "float32",  # of the grey levels 0-255, at the original size
    "standard_deviation": "float32",
    "sharpness": "float32",  # variance of the Laplacian
    "exact_hash": "str",  # of the decoded grey levels and their shape
    "perceptual_hash": "str",  # 64-bit DCT hash, hexadecimal
    "error": "str",  # why it could not be decoded; empty if it could
}


@dataclass(frozen=True)
class FaceSet:
    """Grayscale faces and one table row for each.

    `images` is (N, side, side) uint8, memory-mapped where it is large; a face that could not be decoded
    is black there and has its error in the table. `table` has the columns of TABLE_COLUMNS, N rows. `reading` says, as
    text by name, how the source was read and what was left out.
    """

    name: str
    form: str
    class_names: tuple[str, ...]
    images: np.ndarray[Any, np.dtype[np.uint8]]
    table: pd.DataFrame
    reading: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def decodable(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(N,) bool: the image could be read."""
        return np.asarray(self.table["error"] == "")

    @cached_property
    def labels(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(N,) int64: position in `class_names`, -1 for a label that is not a class."""
        known = pd.Index(self.class_names)
        found = [known.get_indexer(pd.Index(block["label"])) for block in table_blocks(self.table[["label"]])]
        return np.concatenate(found).astype(np.int64)

    def rows(self, split: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the positions of one split's faces, ascending, int64."""
        return np.flatnonzero(np.asarray(self.table["split"] == split)).astype(np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of contents, labels and splits; the order of rows and the names of files do not matter."""
        described = self.table[["exact_hash", "label", "split"]]
        hashed = [pd.util.hash_pandas_object(block, index=False).to_numpy() for block in table_blocks(described)]
        rows = np.sort(np.concatenate(hashed))
        digest = hashlib.sha256("\x1f".join((*self.class_names, str(self.images.shape[1:]))).encode())
        digest.update(rows.tobytes())
        return digest.hexdigest()[:32]

    def take(self, rows: np.ndarray[Any, Any]) -> "FaceSet":
        """Return the faces at the given positions, in memory."""
        return replace(self, images=self.images[rows], table=self.table.iloc[rows].reset_index(drop=True))


def store_images(blocks: Iterable[np.ndarray[Any, Any]], side: int) -> Any:
    """Append (n, side, side) uint8 blocks to a file and return them as one read-only memory map.

    The number of blocks need not be known, and one block at a time is in memory. The file is temporary and is
    deleted with the map. Without blocks, return an array of shape (0, side, side).
    """
    with tempfile.TemporaryFile() as file:
        count = 0
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype=np.uint8).data)
            count += len(block)
        file.flush()
        if count == 0:
            return np.zeros((0, side, side), dtype=np.uint8)
        return np.memmap(file, dtype=np.uint8, mode="r", shape=(count, side, side))
