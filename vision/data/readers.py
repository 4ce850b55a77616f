"""Readers: the table of them, and which one fits a path."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from configs.data_settings import DatasetSettings
from configs.errors import UserError
from vision.data.archive_reader import read_archive
from vision.data.csv_reader import read_csv
from vision.data.drawn_reader import read_drawn
from vision.data.folder_reader import read_folder
from vision.data.kaggle_download import download_dataset
from vision.data.raw_faces import EXPECTED, MORE_IMAGES, RawFace, Reading
from vision.data.shards_reader import read_shards
from vision.data.sources import find_dataset
from vision.files.file_sets import FILES_AN_IMAGE
from vision.files.paths import walk
from vision.files.remote import Allowed, fetch, look_at


def read_kaggle(settings: DatasetSettings, seed: int) -> Reading:
    """Download `dataset.kaggle_name` and read what it holds. Raises UserError."""
    located = settings.model_copy(update={"reader": "auto", "path": download_dataset(settings.kaggle_name)})
    return replace(open_dataset(located, seed), name=settings.kaggle_name)


# The name that `dataset.reader` uses, and what turns that form of data set into a stream of undecoded faces
READERS: dict[str, Callable[[DatasetSettings, int], Reading]] = {
    "folder": read_folder,
    "archive": read_archive,
    "shards": read_shards,
    "csv": read_csv,
    "drawn": read_drawn,
    "kaggle": read_kaggle,
}


def locate_dataset(settings: DatasetSettings) -> DatasetSettings:
    """Replace reader `auto` by the reader that fits, and the path by what it should read.

    Raises UserError where there is nothing to read.
    """
    if settings.reader in ("drawn", "kaggle"):
        return settings
    if isinstance(settings.path, str):  # what reads it is seen once it is fetched, perhaps on another machine
        look_at(settings.path, _allowed(settings))
        return settings
    try:
        by_hand = (settings.reader, settings.path)
        found = find_dataset(settings.path, settings.splits) if settings.reader == "auto" else by_hand
        missing = found is None or not found[1].exists()
    except OSError as error:
        raise UserError(f"dataset.path {settings.path} cannot be read: {error.strerror}") from error
    if found is None or missing:
        state = "holds no data set" if settings.path.is_dir() else "does not exist"
        raise UserError(f"dataset.path {settings.path} {state}; expected {EXPECTED}")
    return settings.model_copy(update={"reader": found[0], "path": found[1]})


def open_dataset(settings: DatasetSettings, seed: int) -> Reading:
    """Open the data set that the settings name. Raises UserError where there is none."""
    if isinstance(settings.path, str):
        settings = settings.model_copy(update={"path": fetch(settings.path, _allowed(settings))})
    located = locate_dataset(settings)
    try:
        reading = READERS[located.reader](located, seed)
    except OSError as error:
        raise _unreadable(error, located.local_path) from error
    return replace(reading, faces=_at_most(located.max_images, reading, located.local_path))


def _at_most(limit: int, reading: Reading, path: Path) -> Iterator[RawFace]:
    """Return a reading's faces. Raises UserError at once or on the way where there are more than `limit`."""
    problem = UserError(f"dataset.path {path} holds more than {limit} images; {MORE_IMAGES}")
    if reading.count is not None and reading.count > limit:
        raise problem

    def faces() -> Iterator[RawFace]:
        for count, face in enumerate(reading.faces, start=1):
            if count > limit:
                raise problem
            yield face

    return faces()


def describe_remote(settings: DatasetSettings) -> str:
    """Return what is behind the address of a data set, counted without fetching it. Raises UserError."""
    return look_at(str(settings.path), _allowed(settings)).described


def source_fingerprint(settings: DatasetSettings) -> str:
    """Hash what identifies the source without decoding it: names, sizes and times of its files.

    It is a cache key: equal fingerprints mean that ingestion need not run again. Raises UserError where a folder
    cannot be listed, and where Kaggle's data set cannot be downloaded.
    """
    digest = hashlib.sha256(repr(settings).encode("utf-8", "backslashreplace"))
    if isinstance(settings.path, str) and settings.reader not in ("drawn", "kaggle"):
        digest.update(look_at(settings.path, _allowed(settings)).fingerprint.encode())
        return digest.hexdigest()
    root = download_dataset(settings.kaggle_name) if settings.reader == "kaggle" else Path(settings.path)
    if settings.reader == "drawn" or not root.exists():
        return digest.hexdigest()
    try:
        # FER+ is a CSV beside that of the faces
        beside = sorted(root.parent.glob("*.[cC][sS][vV]")) if settings.reader == "csv" else [root]
        files = beside if root.is_file() else sorted(walk(root))
    except OSError as error:
        raise _unreadable(error, root) from error
    for path in files:
        try:
            status = path.stat()
            digest.update(os.fsencode(path) + f"\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e".encode())
        except OSError as error:  # such as a link to nowhere, which becomes a row with this error
            digest.update(os.fsencode(path) + f"\x1f{error.errno}\x1e".encode())
    return digest.hexdigest()


def _allowed(settings: DatasetSettings) -> Allowed:
    limits = "dataset.max_images and dataset.max_unpacked_bytes; raise them if that is right"
    return Allowed("dataset.path", FILES_AN_IMAGE * settings.max_images, settings.max_unpacked_bytes, limits)


def _unreadable(error: OSError, path: Path) -> UserError:
    return UserError(f"dataset.path {error.filename or path} cannot be read: {error.strerror}")
