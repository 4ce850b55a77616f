"""Training from a memory-mapped store five times larger than the memory limit, against arrays in memory."""

import contextlib
import json
import os
import shutil
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from tqdm import tqdm

from benchmarks.measuring import GIGABYTE, Table, alternate, compare, parser, publish, run_module, start, work_folder
from configs.errors import UserError
from configs.loading import load_settings
from vision.data.faces import TRAIN, FaceSet
from vision.files.usage import MEGABYTE

SIDE, CLASSES, BATCH = 48, ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 64
TIMES_LARGER = 5
BLOCK = 4096
MAPPED, IN_MEMORY = "memory-mapped, limited", "in memory"
WORK = {"batches": "batches alone", "small": "training a small network", "vgg19": "training VGG-19's blocks 4 and 5"}
SECONDS, QUICK_SECONDS, QUICK_BYTES = 60.0, 2.0, 100_000_000
STEPS, VGG19_STEPS = 50, 5  # batches in a stretch
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")  # of version 1, of version 2


class MemoryGroup:
    """A control group that limits the memory of its processes, page cache included, to `limit` bytes (Linux, root)."""

    def __init__(self, limit: int) -> None:
        one, two = MEMORY_GROUPS
        self.folder = (one if one.is_dir() else two) / f"face-emotion-benchmark-{os.getpid()}"
        self.first_version = one.is_dir()
        self.folder.mkdir()
        try:
            name = "memory.limit_in_bytes" if self.first_version else "memory.max"
            (self.folder / name).write_text(str(limit), encoding="ascii")
        except OSError:
            self.folder.rmdir()
            raise

    @property
    def peak(self) -> int:
        """The most bytes that were in use at once."""
        name = "memory.max_usage_in_bytes" if self.first_version else "memory.peak"
        return int((self.folder / name).read_text(encoding="ascii"))


@contextlib.contextmanager
def limited_memory(limit: int) -> Iterator[tuple[MemoryGroup | None, str]]:
    """Give a control group of `limit` bytes, or None where this machine allows none, and how memory is limited."""
    try:
        group = MemoryGroup(limit)
    except OSError:
        yield None, "by RLIMIT_DATA, which does not count the store's pages"
        return
    try:
        yield group, "by a control group, which counts the store's pages in memory too"
    finally:
        group.folder.rmdir()


def write_store(path: Path, count: int) -> None:
    """Write `count` faces of noise."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, size=(2 * BLOCK, SIDE, SIDE), dtype=np.uint8)
    with path.open("wb") as file:
        for first in tqdm(range(0, count, BLOCK), unit=" blocks", desc="writing the store", disable=None):
            start_at = int(random.integers(BLOCK))
            file.write(noise[start_at : start_at + min(BLOCK, count - first)].data)
        file.flush()
        os.fsync(file.fileno())


def evict(path: Path) -> None:
    """Drop the file's pages from memory; pages that other processes read do not count towards the limit."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def open_store(options: Namespace) -> FaceSet:
    """Return the store's faces, all in the training split: as a memory map, or as many as fit in memory."""
    mapped = np.memmap(options.store, dtype=np.uint8, mode="r").reshape(-1, SIDE, SIDE)
    count = len(mapped) if options.side == "mapped" else min(len(mapped), faces_that_fit())
    images = mapped if options.side == "mapped" else np.array(mapped[:count])
    labels = pd.Categorical.from_codes(np.arange(count) % len(CLASSES), categories=pd.Index(CLASSES))
    splits = pd.Categorical.from_codes(np.zeros(count, np.int8), categories=pd.Index([TRAIN]))
    return FaceSet("noise", "drawn", CLASSES, images, pd.DataFrame({"label": labels, "split": splits}))


def faces_that_fit() -> int:
    """Return how many faces fit into half of the free memory."""
    return int(psutil.virtual_memory().available / 2) // (SIDE * SIDE)


def limit_this_process(options: Namespace) -> None:
    """Join the control group, or limit this process's own data."""
    if options.group:
        (options.group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    elif options.data_limit:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (options.data_limit, options.data_limit))


def measure_side(options: Namespace) -> float:
    """Return faces per second of one side, in this process."""
    limit_this_process(options)
    from vision.training.batches import Examples, FaceBatches

    batches = FaceBatches(Examples(open_store(options), TRAIN), BATCH, np.random.default_rng(0))
    if options.work == "batches":
        started, position = time.perf_counter(), 0
        while time.perf_counter() - started < options.seconds:
            batches[position % len(batches)]
            position += 1
        return position * BATCH / (time.perf_counter() - started)
    return train(batches, options.work, options.seconds)


def train(batches: Any, work: str, seconds: float) -> float:
    """Train on shuffled batches for about `seconds`, after a stretch that is not counted; return faces per second."""
    import keras

    from vision.model.classifier import build_classifier, set_trainable
    from vision.training.learner import AugmentedClassifier
    from vision.training.losses import TargetLoss

    if work == "small":
        layers = keras.layers
        convolutions = [
            layer
            for filters in (16, 32, 64)
            for layer in (layers.Conv2D(filters, 3, activation="relu", padding="same"), layers.MaxPooling2D())
        ]
        shape = keras.Input((SIDE, SIDE, 1))
        network = keras.Sequential([shape, *convolutions, layers.GlobalAveragePooling2D(), layers.Dense(len(CLASSES))])
    else:
        network = build_classifier(
            load_settings([], {"classifier": {"weights": "none"}}).classifier, SIDE, len(CLASSES)
        )
        set_trainable(network, ("head", "block4", "block5"))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model = AugmentedClassifier(network, [], TargetLoss(loss, load_settings([], {}).training.distillation))
    model.compile("adamw")
    ends: list[float] = []
    stretch = STEPS if work == "small" else VGG19_STEPS

    def batch_ended(batch: int, logs: object) -> None:
        if (batch + 1) % stretch == 0:
            ends.append(time.perf_counter())
            model.stop_training = ends[-1] - ends[0] > seconds

    clock = keras.callbacks.LambdaCallback(on_train_batch_end=batch_ended)
    while not ends or not model.stop_training:  # a small store has several epochs
        model.fit(batches, callbacks=[clock], shuffle=False, verbose=0)
    return (len(ends) - 1) * stretch * BATCH / (ends[-1] - ends[0])


def measure_work(options: Namespace, store: Path, limits: list[str]) -> list[tuple[str | float, ...]]:
    """Measure both sides in turn for each kind of work; `limits` are the options that limit the memory-mapped side."""

    def side(name: str, work: str) -> float:
        evict(store)
        given = ["--side", name, "--work", work, "--store", str(store), "--seconds", str(options.seconds)]
        answer = run_module("benchmarks.streaming", *given, *(limits if name == "mapped" else []))
        return float(answer["faces_per_second"])

    rows: list[tuple[str | float, ...]] = []
    for work, label in WORK.items():
        if options.quick and work == "vgg19":
            continue
        sides = {MAPPED: partial(side, "mapped", work), IN_MEMORY: partial(side, "memory", work)}
        figures = alternate(sides, options.rounds)
        rows += [(f"{label}, {row[0]}", *row[1:]) for row in compare(figures, against=IN_MEMORY)]
    return rows


def measure(options: Namespace) -> Table:
    """Write a store that is larger than the memory limit, and return the table of both sides."""
    limit = int(options.limit_mb * MEGABYTE)
    count = (QUICK_BYTES if options.quick else TIMES_LARGER * limit) // (SIDE * SIDE)
    with work_folder() as folder, limited_memory(limit) as (group, how):
        if shutil.disk_usage(folder).free < 1.1 * count * SIDE * SIDE:
            raise UserError(
                f"the store needs {count * SIDE * SIDE / GIGABYTE:.0f} GB of disk; give a smaller --limit-mb"
            )
        write_store(folder / "images", count)
        limits = ["--group", str(group.folder)] if group else ["--data-limit", str(limit)]
        rows = measure_work(options, folder / "images", limits)
        peak = f"; the group's peak was {group.peak / MEGABYTE:,.0f} MB" if group else ""
    notes = (
        f"The store holds {count:,} faces of {SIDE}x{SIDE}, {count * SIDE * SIDE / GIGABYTE:.2f} GB. The memory-mapped "
        f"side may use {options.limit_mb:,} MB, TensorFlow included, limited {how}{peak}. The side in memory has no "
        "limit and reads as many faces as fit into half of the free memory.",
        f"Faces are drawn at random from the whole store, {BATCH} a batch, by vision.training.batches.FaceBatches. The "
        "store's pages are evicted before each measurement, which is a process of its own and takes about "
        f"{options.seconds:g} s after a stretch that is not counted. The goal is a ratio of at least 0.90 in training.",
    )
    header = ("faces per second", "median", "lowest", "highest", "ratio to in memory")
    return Table(f"Streaming, {options.rounds} round(s)", header, tuple(rows), notes)


def main() -> None:
    """Measure both sides in turn, or one of them where a side is named."""
    options_parser = parser(__doc__ or "", rounds=3)
    options_parser.add_argument("--limit-mb", type=int, default=2000, help="memory that is allowed (default: 2000)")
    options_parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    options_parser.add_argument("--side", choices=("mapped", "memory"), help="measure this side only, in this process")
    options_parser.add_argument("--work", choices=WORK, default="batches")
    options_parser.add_argument("--store", type=Path)
    options_parser.add_argument("--group", type=Path, help="control group to join")
    options_parser.add_argument("--data-limit", type=int, default=0, help="RLIMIT_DATA, in bytes")
    options = options_parser.parse_args()
    if options.side:
        print(json.dumps({"faces_per_second": measure_side(options)}))
        return
    if options.quick:
        options.seconds, options.rounds = QUICK_SECONDS, 1
    publish(measure(options), options)


if __name__ == "__main__":
    start(main)
