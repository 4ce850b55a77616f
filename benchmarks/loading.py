"""Images per second from files to arrays: ours, image_dataset_from_directory and ImageDataGenerator."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measuring import Table, alternate, compare, parser, publish, settings_for, start, work_folder
from benchmarks.pictures import unpack, write_zip
from configs.data_settings import DatasetSettings
from configs.errors import UserError
from vision.data.ingestion import ingest_faces

BATCH, COUNT, QUICK_COUNT = 256, 20_000, 3_000
NOTES = (
    "Median, lowest and highest of the rounds; the ratio is the median of the ratios within a round. All read the same "
    "PNG files from the operating system's cache into uint8 or float32 arrays of one channel.",
    "The peers read folders; unpacking them is not counted. Ours reads the zip, and the same folders. In that time it "
    "also writes a row for each image with its split, size, mode, mean, standard deviation, sharpness, SHA-256 and "
    "perceptual hash, and an error instead of a crash for a damaged file. Its arrays are on disk, theirs in memory.",
)


def ours(settings: DatasetSettings, count: int) -> float:
    """Return images per second of ingestion."""
    started = time.perf_counter()
    faces = ingest_faces(settings, seed=0)
    seconds = time.perf_counter() - started
    assert len(faces) == count, f"{len(faces)} of {count} images were read"
    return count / seconds


def directory_dataset(roots: list[Path], count: int, side: int) -> float:
    """Return images per second of keras.utils.image_dataset_from_directory."""
    import keras

    started, found = time.perf_counter(), 0
    for root in roots:
        batches = keras.utils.image_dataset_from_directory(
            root, color_mode="grayscale", image_size=(side, side), batch_size=BATCH, shuffle=False, verbose=False
        )
        found += sum(len(images) for images, _ in batches.as_numpy_iterator())
    assert found == count, f"{found} of {count} images were read"
    return count / (time.perf_counter() - started)


def data_generator(roots: list[Path], count: int, side: int) -> float:
    """Return images per second of the legacy ImageDataGenerator.flow_from_directory."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    started, found = time.perf_counter(), 0
    for root in roots:
        batches = ImageDataGenerator().flow_from_directory(
            str(root), color_mode="grayscale", target_size=(side, side), batch_size=BATCH, shuffle=False
        )
        found += sum(len(batches[position][0]) for position in range(len(batches)))
    assert found == count, f"{found} of {count} images were read"
    return count / (time.perf_counter() - started)


def main() -> None:
    """Measure loading."""
    options = parser(__doc__ or "", rounds=5).parse_args()
    rounds = 2 if options.quick else options.rounds
    with work_folder() as folder:
        if options.dataset is None or options.quick:
            options.dataset = write_zip(folder / "drawn.zip", QUICK_COUNT if options.quick else COUNT)
        if not options.dataset.is_file():
            raise UserError(f"--dataset {options.dataset} is not a zip file; this benchmark needs one")
        roots, count = unpack(options.dataset, folder / "unpacked")
        settings = settings_for(options).dataset
        unpacked = settings.model_copy(update={"path": folder / "unpacked", "reader": "folder"})
        sides: dict[str, Callable[[], float]] = {
            "ours, from the zip": partial(ours, settings, count),
            "ours, from folders": partial(ours, unpacked, count),
            "image_dataset_from_directory": partial(directory_dataset, roots, count, settings.image_size),
            "ImageDataGenerator": partial(data_generator, roots, count, settings.image_size),
        }
        for side in sides.values():
            side()  # imports, worker start and the operating system's cache are not counted
        figures = alternate(sides, rounds)
    title = f"Loading: {count:,} images of {options.dataset.name}, {rounds} rounds"
    rows = compare(figures, against="image_dataset_from_directory")
    header = ("images per second", "median", "lowest", "highest", "ratio to image_dataset_from_directory")
    workers = f"Ours decodes in {settings.workers} processes (`dataset.workers`), which are started for each reading."
    publish(Table(title, header, rows, (*NOTES, workers)), options)


if __name__ == "__main__":
    start(main)
