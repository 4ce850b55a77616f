"""Usage: how long a piece of work takes and how much memory its processes hold."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

MEGABYTE = 1e6
SAMPLE_SECONDS = 0.2


@dataclass
class Usage:
    """Filled in when the measured block ends: wall-clock seconds, and megabytes (10^6 bytes) at the peak."""

    seconds: float = 0.0
    peak_memory_mb: float = 0.0


@contextmanager
def measure() -> Iterator[Usage]:
    """Measure the block's time and the peak resident memory of this process and its children together."""
    usage, ended = Usage(), threading.Event()

    def sample() -> None:
        while True:
            usage.peak_memory_mb = max(usage.peak_memory_mb, resident_bytes() / MEGABYTE)
            if ended.wait(SAMPLE_SECONDS):
                return

    sampler = threading.Thread(target=sample, daemon=True)
    started = time.perf_counter()
    sampler.start()
    try:
        yield usage
    finally:
        usage.seconds = time.perf_counter() - started
        ended.set()
        sampler.join()


def resident_bytes() -> int:
    """Return the resident memory of this process and all its children, in bytes."""
    process = psutil.Process()
    total: int = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile
    return total
