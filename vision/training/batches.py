"""Batches: faces, or frozen features of them, read out of memory-mapped arrays as training asks for them."""

import contextlib
import math
import mmap
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from vision.data.faces import FaceSet

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


@dataclass(frozen=True)
class Examples:
    """What a split shows: its faces, or `features` (views, faces, ...) of them, and a teacher's (faces, classes).

    `weights` (faces,) are those of each face in the loss; None: all alike.
    """

    faces: FaceSet
    split: str
    features: Array | None = None
    teacher: Array | None = None
    weights: Array | None = None


@dataclass(frozen=True)
class Share:
    """What of each batch a process reads: of a shuffled one its part, of `parts`; of others all, `copies` times."""

    part: int = 0
    parts: int = 1
    copies: int = 1


@dataclass(frozen=True)
class ClassBalance:
    """A (classes,) weight of each class: in the loss or, where `oversample`, in how often its faces are drawn."""

    weights: Array
    oversample: bool = False


WHOLE = Share()


class FaceBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of examples, in their order or, where `shuffle` is a generator, in a new one every epoch.

    Yields ({"images": (n, side, side, 1) float32, "labels": (n, classes) float32}, labels, weights (n,) float32).
    Features stand in for the images: of each face, one of its views an epoch. A teacher's probabilities are the
    input "teacher" (n, classes). The shuffled batches of an epoch are all whole: batch normalisation would be led
    astray by a few faces at its end. `drawn_from` is the state of the generator before it drew the present order.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        shuffle: np.random.Generator | None = None,
        balance: ClassBalance | None = None,
        share: Share = WHOLE,
    ) -> None:
        super().__init__(workers=THREADS)
        self.share = share
        self.faces, self.batch_size, self.shuffle = examples.faces, batch_size, shuffle
        self.features, self.teacher = examples.features, examples.teacher
        self.rows = self.faces.rows(examples.split)
        self.weights = np.ones(len(self.rows)) if examples.weights is None else examples.weights
        self.chances = None
        if balance is not None:
            of_row = balance.weights[self.faces.labels[self.rows]]
            if balance.oversample:
                self.chances = of_row / of_row.sum()
            else:
                self.weights = self.weights * of_row
        self.order = np.arange(len(self.rows))
        self.drawn_from: Any = None
        self.views = np.zeros(len(self.rows), dtype=np.int64)
        features = self.features
        self.ahead = ReadAhead(self.faces.images if features is None else features.reshape(-1, *features.shape[2:]))
        self.draw_order()

    @property
    def steps(self) -> int:
        """The batches of an epoch."""
        return len(self)

    def __len__(self) -> int:
        whole = len(self.rows) // self.batch_size
        return whole if self.shuffle is not None and whole else math.ceil(len(self.rows) / self.batch_size)

    def on_epoch_end(self) -> None:
        self.draw_order()

    def draw_order(self) -> None:
        """Draw the order of an epoch, and of each face the view that it shows."""
        if self.shuffle is not None:
            self.drawn_from = self.shuffle.bit_generator.state
            count = len(self.rows)
            self.order = self.shuffle.choice(count, count, replace=self.chances is not None, p=self.chances)
            if self.features is not None:
                self.views = self.shuffle.integers(len(self.features), size=count)

    def draw_again(self, state: Any) -> None:
        """Draw the order that the generator drew from this state."""
        if self.shuffle is not None:
            self.shuffle.bit_generator.state = state
        self.draw_order()

    def __getitem__(self, position: int) -> tuple[dict[str, Array], Array, Array]:
        chosen = self._chosen(position)
        self._fetch_ahead(position)
        rows = self.rows[chosen]
        if self.features is None:
            inputs = self.faces.images[rows][..., None]
        else:
            inputs = self.features[self.views[chosen], chosen]
        labels = np.eye(len(self.faces.class_names), dtype=np.float32)[self.faces.labels[rows]]
        given = {"images": inputs.astype(np.float32), "labels": labels}
        if self.teacher is not None:
            given["teacher"] = self.teacher[chosen].astype(np.float32)
        return given, labels, self.weights[chosen].astype(np.float32)

    def _chosen(self, position: int) -> Array:
        batch = self.order[position * self.batch_size : (position + 1) * self.batch_size]
        if self.shuffle is None:
            return np.tile(batch, self.share.copies)
        size = len(batch) // self.share.parts
        return batch[self.share.part * size : (self.share.part + 1) * size]

    def _fetch_ahead(self, position: int) -> None:
        """Ask for a batch some places further on; at the beginning of an epoch for all up to there."""
        first = position + BATCHES_AHEAD if position else 0
        for later in range(first, position + BATCHES_AHEAD + 1):
            faces = self._chosen(later)
            self.ahead.fetch(self.rows[faces] if self.features is None else self.views[faces] * len(self.rows) + faces)
