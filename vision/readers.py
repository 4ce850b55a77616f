"""Readers: each turns one form of data set into a stream of undecoded faces."""

import csv
import gzip
import hashlib
import importlib
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.drawing import draw_faces
from vision.faces import TEST, TRAIN, UNASSIGNED, VALIDATION

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
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
DAMAGED_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
EXPECTED = "class folders such as train/happy/*.png, a .zip or .tar.gz of them, or a Kaggle CSV"


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
    """What a reader returns: its faces, read when they are asked for, and their number where it is known."""

    name: str
    form: str
    count: int | None
    faces: Iterator[RawFace]


def label_and_split(path: PurePosixPath) -> tuple[str, str]:
    """Return the name of the folder that holds the image, and the split that a folder above it names."""
    folders = path.parent.parts
    label = folders[-1] if folders else ""
    splits = [SPLIT_NAMES[name.lower()] for name in folders[:-1] if name.lower() in SPLIT_NAMES]
    return label, splits[-1] if splits else UNASSIGNED


def is_image(path: PurePosixPath) -> bool:
    """Say whether the name is one of an image, and not one that an operating system left behind."""
    hidden = any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def walk(root: Path) -> Iterator[Path]:
    """Yield every file below, through links to folders too, but into no folder twice. Raises OSError."""

    def fail(error: OSError) -> NoReturn:
        raise error

    seen = set()
    for folder, subfolders, names in os.walk(root, onerror=fail, followlinks=True):
        seen.add(os.path.realpath(folder))
        subfolders[:] = [name for name in subfolders if os.path.realpath(Path(folder, name)) not in seen]
        yield from (Path(folder, name) for name in names)


def too_large(size: int, limit: int, section: str = "dataset") -> ValueError:
    """Return the error of a file that is not even read; `section` is that of the settings with the limit."""
    return ValueError(f"{size} bytes, more than {section}.max_file_bytes {limit}")


def read_file(path: Path, limit: int, section: str = "dataset") -> bytes | Exception:
    """Return what a file holds, or the reason why it was not read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return ValueError("not a regular file")  # reading a pipe would wait for ever
        return path.read_bytes() if status.st_size <= limit else too_large(status.st_size, limit, section)
    except OSError as error:
        return error


def image_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the images of a zip file, in its own order."""
    return [member for member in archive.infolist() if not member.is_dir() and is_image(_member_path(member))]


def read_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, section: str = "dataset"
) -> bytes | Exception:
    """Return what a zip's member holds, or the reason why it was not read; the others may still be good."""
    try:
        return archive.read(member) if member.file_size <= limit else too_large(member.file_size, limit, section)
    except (*DAMAGED_ARCHIVE, RuntimeError, OSError) as error:  # RuntimeError: it is encrypted
        return error


def read_folder(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders; a split is named by any folder above the class folder."""
    root = settings.path
    paths = sorted(path for path in walk(root) if is_image(PurePosixPath(path.relative_to(root).as_posix())))
    if not paths:
        raise UserError(f"dataset.path {root} holds no images; expected {EXPECTED}")

    def faces() -> Iterator[RawFace]:
        for path in paths:
            # the root's own name counts, so that `--dataset.path faces/train` is still training data
            named = PurePosixPath(root.resolve().name, path.relative_to(root).as_posix())
            source = path.relative_to(root).as_posix()
            yield RawFace(source, *label_and_split(named), read_file(path, settings.max_file_bytes))

    return Reading(root.name, "folder", len(paths), faces())


def read_archive(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders inside a zip or tar file, member by member, without unpacking it onto the disk."""
    path = settings.path
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path, settings)
        if tarfile.is_tarfile(path):
            return _read_tar(path, settings)
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"dataset.path {path} is a damaged archive: {error}") from error
    raise UserError(f"dataset.path {path} is no readable zip or tar file; was it copied or downloaded completely?")


def _read_zip(path: Path, settings: DatasetSettings) -> Reading:
    with zipfile.ZipFile(path) as archive:
        members = image_members(archive)
    if not members:
        raise UserError(
            f"dataset.path {path} holds no images (a CSV in it must be unpacked first); expected {EXPECTED}"
        )

    def faces() -> Iterator[RawFace]:
        with zipfile.ZipFile(path) as archive:
            for member in members:
                payload = read_member(archive, member, settings.max_file_bytes)
                yield RawFace(member.filename, *label_and_split(_member_path(member)), payload)

    return Reading(path.name, "archive", len(members), faces())


def _member_path(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))  # some programs write Windows separators


def _read_tar(path: Path, settings: DatasetSettings) -> Reading:
    def faces() -> Iterator[RawFace]:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = PurePosixPath(member.name)
                    if not member.isfile() or not is_image(name):
                        continue
                    file = archive.extractfile(member)
                    assert file is not None  # only members that are no files give None
                    small = member.size <= settings.max_file_bytes
                    payload = file.read() if small else too_large(member.size, settings.max_file_bytes)
                    yield RawFace(member.name, *label_and_split(name), payload)
                _check_end(archive, path)
        except (*DAMAGED_ARCHIVE, OSError) as error:
            raise UserError(f"dataset.path {path} is a damaged archive: {error}") from error

    return Reading(path.name, "archive", None, faces())


def _check_end(archive: tarfile.TarFile, path: Path) -> None:
    """Raise UserError where a tar file does not end as it should: a damaged header reads like its end."""
    file = archive.fileobj
    assert file is not None  # the archive is open
    file.seek(archive.offset)
    end = file.read(tarfile.BLOCKSIZE)
    while not end.strip(b"\0") and (more := file.read(tarfile.RECORDSIZE)):
        end = more
    if not end or end.strip(b"\0"):
        raise UserError(f"dataset.path {path} is a damaged archive: it breaks off in the middle")


def read_csv(settings: DatasetSettings, seed: int) -> Reading:
    """Read Kaggle's `emotion,pixels,Usage` or `icml_face_data.csv`: one face a row, grey levels as text."""
    path = settings.path
    csv.field_size_limit(settings.max_file_bytes)
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        header = [name.strip().lower() for name in next(csv.reader(file), [])]
    missing = {"emotion", "pixels"} - set(header)
    if missing:
        raise UserError(
            f"dataset.path {path} has no column {' and '.join(sorted(missing))}; "
            f"expected emotion, pixels and (optionally) Usage, found {', '.join(header)[:80]!r}"
        )

    def faces() -> Iterator[RawFace]:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = csv.reader(file, strict=True)  # an open quote would swallow the rest of the file
            next(rows)
            try:
                for row in rows:
                    values = dict(zip(header, row, strict=False))
                    code = values.get("emotion", "").strip()
                    known = code.isdecimal() and len(code) < 4 and int(code) < len(settings.class_names)
                    label = settings.class_names[int(code)] if known else code
                    split = SPLIT_NAMES.get(values.get("usage", "").strip().lower(), UNASSIGNED)
                    yield RawFace(f"{path.name}:{rows.line_num}", label, split, values.get("pixels", ""))
            except csv.Error as error:
                raise UserError(f"dataset.path {path}, line {rows.line_num}: {error}") from error

    return Reading(path.name, "csv", None, faces())


def read_drawn(settings: DatasetSettings, seed: int) -> Reading:
    """Draw faces instead of reading any."""
    drawn = draw_faces(settings.drawn, settings.class_names, settings.image_size, seed)
    faces = (RawFace(f"drawn/{i:06d}", label, UNASSIGNED, pixels) for i, (label, pixels) in enumerate(drawn))
    return Reading("drawn", "drawn", settings.drawn.faces, faces)


def read_kaggle(settings: DatasetSettings, seed: int) -> Reading:
    """Download `dataset.kaggle_name` with kagglehub (kept in its cache) and read its class folders."""
    try:
        kagglehub = importlib.import_module("kagglehub")
    except ImportError as error:
        raise UserError(
            "dataset.reader kaggle needs the package kagglehub: run `.venv/bin/pip install kagglehub`, "
            "or download the data set by hand and give its path with --dataset.path"
        ) from error
    try:
        folder = Path(kagglehub.dataset_download(settings.kaggle_name))
    except Exception as error:  # kagglehub raises requests', its own and OS errors alike
        raise UserError(
            f"kagglehub could not download dataset.kaggle_name {settings.kaggle_name}: {error}; "
            "check the network and the name, or download it by hand and give its path with --dataset.path"
        ) from error
    reading = open_dataset(settings.model_copy(update={"reader": "auto", "path": folder}), seed)
    return replace(reading, name=settings.kaggle_name)


READERS: dict[str, Callable[[DatasetSettings, int], Reading]] = {
    "folder": read_folder,
    "archive": read_archive,
    "csv": read_csv,
    "drawn": read_drawn,
    "kaggle": read_kaggle,
}


def find_dataset(path: Path) -> tuple[str, Path] | None:
    """Return the reader's name and the path that it should read, or None if `path` holds nothing.

    `path` is an archive, a CSV file, or a folder of class folders, or one that holds a single archive or CSV.
    Raises UserError for a file of another kind and where several data sets lie side by side.
    """
    if path.is_file():
        lowered = path.name.lower()
        if lowered.endswith(ARCHIVE_SUFFIXES):
            return "archive", path
        if lowered.endswith(".csv"):
            return "csv", path
        raise UserError(f"dataset.path {path} is a file of unknown kind; expected {EXPECTED}")
    if not path.is_dir():
        return None
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    packed = [
        entry for entry in entries if entry.is_file() and entry.name.lower().endswith((*ARCHIVE_SUFFIXES, ".csv"))
    ]
    if (folders and packed) or len(packed) > 1:
        names = ", ".join(entry.name for entry in [*folders, *packed][:6])
        raise UserError(
            f"{path} holds more than one data set ({names}); choose one with --dataset.path, or --dataset.reader folder"
        )
    if packed:
        return find_dataset(packed[0])
    return ("folder", path) if folders else None


def locate_dataset(settings: DatasetSettings) -> DatasetSettings:
    """Replace reader `auto` by the reader that fits, and the path by what it should read.

    Raises UserError where there is nothing to read.
    """
    if settings.reader in ("drawn", "kaggle"):
        return settings
    try:
        found = find_dataset(settings.path) if settings.reader == "auto" else (settings.reader, settings.path)
        missing = found is None or not found[1].exists()
    except OSError as error:
        raise UserError(f"dataset.path {settings.path} cannot be read: {error.strerror}") from error
    if found is None or missing:
        state = "holds no data set" if settings.path.is_dir() else "does not exist"
        raise UserError(f"dataset.path {settings.path} {state}; expected {EXPECTED}")
    return settings.model_copy(update={"reader": found[0], "path": found[1]})


def open_dataset(settings: DatasetSettings, seed: int) -> Reading:
    """Open the data set that the settings name. Raises UserError where there is none."""
    located = locate_dataset(settings)
    try:
        return READERS[located.reader](located, seed)
    except OSError as error:
        raise UserError(f"dataset.path {error.filename or located.path} cannot be read: {error.strerror}") from error


def source_fingerprint(settings: DatasetSettings) -> str:
    """Hash what identifies the source without decoding it: names, sizes and times of its files.

    It is a cache key: equal fingerprints mean that ingestion need not run again.
    """
    digest = hashlib.sha256(repr(settings).encode("utf-8", "backslashreplace"))
    if settings.reader in ("drawn", "kaggle") or not settings.path.exists():
        return digest.hexdigest()
    files = [settings.path] if settings.path.is_file() else sorted(walk(settings.path))
    for path in files:
        status = path.stat()
        digest.update(os.fsencode(path) + f"\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e".encode())
    return digest.hexdigest()
