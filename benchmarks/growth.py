"""Time and memory from files to the faces that training sees, as the data set grows."""

import json
import shutil
import statistics
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.measuring import (
    GIGABYTE,
    Table,
    parser,
    passed_on,
    publish,
    run_module,
    settings_for,
    start,
    work_folder,
)
from benchmarks.pictures import write_zip
from configs.errors import UserError
from vision.files.usage import MEGABYTE, SAMPLE_SECONDS, measure

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000, 400_000), (1_000, 3_000)
STEPS = ("ingest", "validate", "analyze", "preprocess")
BYTES_PER_IMAGE = 12_000  # on disk while it runs: the PNG and twice the pixels
NOTES = (
    "Each size is a process of its own that reads a zip of 48x48 PNG files, all different, a tenth of them held out: "
    "`ingest_faces`, `validate_faces`, `analyze_classes`, `preprocess_faces`, in this order, as the pipeline calls "
    "them and with its settings. Great Expectations' import (in *validate*) and starting the decoding processes are "
    "counted.",
    "Peak MB is the most resident memory of the process and its decoders together. It includes pages of the "
    "memory-mapped store that the operating system keeps in memory; *of its own* leaves them out (Linux's RssAnon), "
    "and so do the peaks of the steps. *Before* is the process after its imports.",
)


def own_bytes() -> int:
    """Return the resident memory of this process and its children that is not backed by a file, in bytes (Linux)."""
    total = 0
    process = psutil.Process()
    for one in (process, *process.children(recursive=True)):
        try:
            lines = Path(f"/proc/{one.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            continue  # it ended while we were counting
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
    return total


@contextmanager
def own_peak() -> Iterator[list[float]]:
    """Give a list that holds the block's peak of own_bytes, in MB, when the block ends."""
    peak, ended = [0.0], threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], own_bytes() / MEGABYTE)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield peak
    finally:
        ended.set()
        sampler.join()


def measure_growth(options: Namespace) -> dict[str, float]:
    """Run one data set through the data functions, in this process."""
    from vision.data.balance import analyze_classes
    from vision.data.ingestion import ingest_faces
    from vision.data.preprocessing import preprocess_faces
    from vision.data.validation import validate_faces

    settings = settings_for(options)
    seconds: dict[str, float] = {"before_mb": own_bytes() / MEGABYTE}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started = time.perf_counter()
        with own_peak() as peak:
            yield
        seconds[name], seconds[f"{name}_mb"] = time.perf_counter() - started, peak[0]

    with measure() as usage:
        with timed("ingest"):
            faces = ingest_faces(settings.dataset, settings.seed)
        with timed("validate"):
            validate_faces(faces, settings.validation, settings.preprocessing.blank_standard_deviation)
        with timed("analyze"):
            analyze_classes(faces, settings.balance, settings.seed)
        with timed("preprocess"):
            prepared, _ = preprocess_faces(faces, settings.preprocessing, settings.seed)
    return {
        **seconds,
        "faces": len(prepared),
        "seconds": usage.seconds,
        "peak_mb": usage.peak_memory_mb,
        "own_mb": max(seconds[f"{name}_mb"] for name in STEPS),
    }


def main() -> None:
    """Measure all sizes, or the data set at hand in this process."""
    options_parser = parser(__doc__ or "", rounds=1)
    options_parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="images")
    options_parser.add_argument("--here", action="store_true", help="measure --dataset in this process")
    options = options_parser.parse_args()
    if options.here:
        print(json.dumps(measure_growth(options)))
        return
    rows: list[tuple[str | float, ...]] = []
    for size in QUICK_SIZES if options.quick else options.sizes:
        with work_folder() as folder:
            free = shutil.disk_usage(folder).free
            if free < size * BYTES_PER_IMAGE:
                needed = size * BYTES_PER_IMAGE / GIGABYTE
                raise UserError(
                    f"{size} images need {needed:.0f} GB of disk, {free / GIGABYTE:.0f} GB are free; give --sizes"
                )
            options.dataset = write_zip(folder / "drawn.zip", size)
            given = ["--here", *passed_on(options)]
            rounds = [run_module("benchmarks.growth", *given) for _ in range(1 if options.quick else options.rounds)]
        seen = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        steps = [seen[name] for name in (*STEPS, "seconds")]
        memory = [seen[name] for name in ("before_mb", "peak_mb", *(f"{name}_mb" for name in STEPS), "own_mb")]
        rows.append((f"{size:,}", *steps, size / seen["seconds"], *memory))
    header = (
        "images", "ingest (s)", "validate (s)", "analyze (s)", "preprocess (s)", "all (s)", "images per second",
        "MB before", "peak MB", *(f"{name} (MB)" for name in STEPS), "of its own",
    )  # fmt: skip
    publish(
        Table(
            "Growth: files to prepared faces",
            header,
            tuple(rows),
            (*NOTES, *([verdict(rows)] if len(rows) > 1 else [])),
        ),
        options,
    )


def verdict(rows: list[tuple[str | float, ...]]) -> str:
    """Say how time and memory grew from the second to last to the last size."""
    (first, *_, mb), (last, *_, more_mb) = rows[-2:]
    seconds, more_seconds = (row[len(STEPS) + 1] for row in rows[-2:])
    images = float(str(last).replace(",", "")) / float(str(first).replace(",", ""))
    return (
        f"From {first} to {last} images, {images:.3g} times as many, time grew by a factor of "
        f"{float(more_seconds) / float(seconds):.3g} and memory of its own by {float(more_mb) / float(mb):.3g}."
    )


if __name__ == "__main__":
    start(main)
