"""Batches: faces, or frozen features of them, read out of memory-mapped arrays as training asks for them."""

import contextlib
import math
import mmap
from typing import Any

import keras
import numpy as np

from vision.data.faces import TRAIN, FaceSet

Array = np.ndarray[Any, Any]
THREADS = 2  # with one, Keras has tf.data read, whose tuning thread then holds up the end of every epoch for up to 60 s
BATCHES_AHEAD = 8  # that the operating system is asked to fetch before they are read


class ReadAhead:
    """Has the rows of a memory-mapped array fetched from the disk all at once, before they are read one by one.

    Without it each row that is not in memory waits for the one before, and brings its neighbours on the disk along,
    which are of no use where rows are drawn at random. Does nothing for an array in memory.
    """

    def __init__(self, array: Array) -> None:
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        self.map = base if isinstance(base, mmap.mmap) and hasattr(base, "madvise") else None
        self.row_bytes = array[:1].nbytes
        self.stride = array.strides[0]
        if self.map is not None:
            self.start = array.ctypes.data - np.frombuffer(self.map, np.uint8).ctypes.data

    def fetch(self, rows: Array) -> None:
        """Ask for (n,) int64 rows and return at once."""
        if self.map is None:
            return
        for row in rows.tolist():
            first = self.start + row * self.stride
            page = first - first % mmap.PAGESIZE
            with contextlib.suppress(OSError):  # it was only a hint
                self.map.madvise(mmap.MADV_WILLNEED, page, first + self.row_bytes - page)


class FaceBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of one split, in its order or, where `shuffle` is a generator, drawn anew every epoch.

    Yields ({"images": (n, side, side, 1) float32, "labels": (n, classes) float32}, labels, weights (n,) float32).
    `features` is (views, faces, ...) and stands in for the images: of each face, one of its views an epoch.
    `soft_labels` is (faces, classes): a teacher's, appended to the labels in the inputs. The shuffled batches
    of an epoch are all whole: batch normalisation would be led astray by a few faces at its end. `drawn_from` is the
    state of the generator before it drew the present order.
    """

    def __init__(
        self,
        faces: FaceSet,
        split: str,
        batch_size: int,
        shuffle: np.random.Generator | None = None,
        class_weights: Array | None = None,
        oversample: bool = False,
        features: Array | None = None,
        soft_labels: Array | None = None,
    ) -> None:
        super().__init__(workers=THREADS)
        self.faces, self.batch_size, self.shuffle = faces, batch_size, shuffle
        self.features, self.soft_labels = features, soft_labels
        self.rows = faces.rows(split)
        weights = np.ones(len(faces.class_names)) if class_weights is None else class_weights
        of_row = weights[faces.labels[self.rows]]
        self.chances = of_row / of_row.sum() if oversample else None
        self.weights = np.ones(len(self.rows)) if oversample else of_row
        self.order = np.arange(len(self.rows))
        self.drawn_from: Any = None
        self.views = np.zeros(len(self.rows), dtype=np.int64)
        self.ahead = ReadAhead(faces.images if features is None else features.reshape(-1, *features.shape[2:]))
        self.on_epoch_end()

    def __len__(self) -> int:
        whole = len(self.rows) // self.batch_size
        return whole if self.shuffle is not None and whole else math.ceil(len(self.rows) / self.batch_size)

    def on_epoch_end(self) -> None:
        if self.shuffle is not None:
            self.drawn_from = self.shuffle.bit_generator.state
            count = len(self.rows)
            self.order = self.shuffle.choice(count, count, replace=self.chances is not None, p=self.chances)
            if self.features is not None:
                self.views = self.shuffle.integers(len(self.features), size=count)

    def __getitem__(self, position: int) -> tuple[dict[str, Array], Array, Array]:
        chosen = self._chosen(position)
        self._fetch_ahead(position)
        rows = self.rows[chosen]
        if self.features is None:
            inputs = self.faces.images[rows][..., None]
        else:
            inputs = self.features[self.views[chosen], chosen]
        labels = np.eye(len(self.faces.class_names), dtype=np.float32)[self.faces.labels[rows]]
        given = labels if self.soft_labels is None else np.hstack([labels, self.soft_labels[chosen]])
        return {"images": inputs.astype(np.float32), "labels": given}, labels, self.weights[chosen].astype(np.float32)

    def _chosen(self, position: int) -> Array:
        return self.order[position * self.batch_size : (position + 1) * self.batch_size]

    def _fetch_ahead(self, position: int) -> None:
        """Ask for a batch some places further on; at the beginning of an epoch for all up to there."""
        first = position + BATCHES_AHEAD if position else 0
        for later in range(first, position + BATCHES_AHEAD + 1):
            faces = self._chosen(later)
            self.ahead.fetch(self.rows[faces] if self.features is None else self.views[faces] * len(self.rows) + faces)


def count_classes(faces: FaceSet) -> Array:
    """Return the (classes,) counts of training faces."""
    return np.bincount(faces.labels[faces.rows(TRAIN)], minlength=len(faces.class_names))
