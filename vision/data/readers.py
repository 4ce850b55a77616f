"""Readers: each turns one form of data set into a stream of undecoded faces."""

import csv
import gzip
import hashlib
import importlib
import io
import logging
import os
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn, TextIO, cast

import numpy as np

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.data.faces import TEST, TRAIN, UNASSIGNED, VALIDATION
from vision.data.synthetic import draw_faces

logger = logging.getLogger(__name__)

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
# of its CSV files, from 0 on (Goodfellow et al. 2013); alphabetical as class folders are, but for the last three
FER2013_CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
# what zipfile, tarfile and gzip raise for altered archives; RuntimeError: encrypted, or of a later version of zip
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    OverflowError, RuntimeError,
)  # fmt: skip
ZIP_HEADER = 30  # bytes before a member's name
UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks other methods without a bound on memory
HEADER_BYTES = 65_536  # of one member of a tar file; tarfile would read whatever size a header claims
GLOBAL_HEADERS = 100  # of a tar file; tarfile keeps them all
ROW_CHARACTERS = 4_000_000  # of a CSV: a face of 1000x1000
PACK_AGAIN = "download it or pack it again"
MORE_IMAGES = "raise dataset.max_images if that is right"
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


def printable(text: str) -> str:
    r"""Return a name that can be stored and shown on one line: other characters become `\n`, `\x1b`, `\udce9`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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


class _ZipBytes(io.BufferedReader):
    """The bytes of a zip file; counts the members that it lists before zipfile makes an object of each."""

    def __init__(self, path: Path, limit: int, way_out: str) -> None:
        super().__init__(io.FileIO(path))
        self.path, self.limit, self.way_out = path, limit, way_out

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if content.count(b"PK\x01\x02") > self.limit:
            raise UserError(f"{self.path} lists more than {self.limit} files; {self.way_out}")
        return content


def open_zip(path: Path, limit: int, way_out: str) -> zipfile.ZipFile:
    """Open a zip file of at most `limit` members.

    Raises UserError, which ends in `way_out`, where there are more; one of DAMAGED_ARCHIVE where it is none and
    where members share bytes, by which a small file unpacks to a huge one (Fifield 2019).
    """
    content = _ZipBytes(path, limit, way_out)
    try:
        archive = zipfile.ZipFile(content)
        ordered = sorted(archive.infolist(), key=lambda member: member.header_offset)
        for one, following in pairwise(ordered):
            if one.header_offset + ZIP_HEADER + one.compress_size > following.header_offset:
                raise zipfile.BadZipFile(f"{one.filename!r} and {following.filename!r} overlap, as in a zip bomb")
    except BaseException:
        content.close()
        raise
    content.limit = sys.maxsize  # what follows is no list
    return archive


def image_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the images of a zip file, in its own order."""
    files = (member for member in archive.infolist() if not member.filename.endswith("/"))  # a name may be empty
    return [member for member in files if is_image(_member_path(member.filename))]


def read_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int, section: str = "dataset"
) -> bytes | Exception:
    """Return what a zip's member holds, or the reason why it was not read; the others may still be good."""
    if member.compress_type not in UNPACKED:
        return ValueError(f"packed by method {member.compress_type}; only deflate is read, so pack it again")
    if member.file_size > limit:
        return too_large(member.file_size, limit, section)
    try:
        with archive.open(member) as file:
            return file.read(member.file_size)  # without a size it would unpack what there is, not what is claimed
    except (*DAMAGED_ARCHIVE, OSError) as error:
        return error


def read_folder(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders; a split is named by any folder above the class folder."""
    root = settings.path
    images = (path for path in walk(root) if is_image(PurePosixPath(path.relative_to(root).as_posix())))
    paths = sorted(islice(images, settings.max_images + 1))
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
    except DAMAGED_ARCHIVE as error:
        raise UserError(f"dataset.path {path} is a damaged archive: {printable(str(error))}; {PACK_AGAIN}") from error
    if _is_tar(path):
        return _read_tar(path, settings)
    raise UserError(f"dataset.path {path} is no readable zip or tar file; was it copied or downloaded completely?")


def _read_zip(path: Path, settings: DatasetSettings) -> Reading:
    archive = open_zip(path, settings.max_images, MORE_IMAGES)
    members = image_members(archive)
    if not members:
        raise UserError(
            f"dataset.path {path} holds no images (a CSV or an archive in it must be unpacked first); "
            f"expected {EXPECTED}"
        )
    _check_unpacked(sum(member.file_size for member in members), path, settings)

    def faces() -> Iterator[RawFace]:
        with archive:  # opened again, it would have its list of members twice
            for member in members:
                payload = read_member(archive, member, settings.max_file_bytes)
                yield RawFace(member.filename, *label_and_split(_member_path(member.filename)), payload)

    return Reading(path.name, "archive", len(members), faces())


def _check_unpacked(size: int, path: Path, settings: DatasetSettings) -> None:
    if size > settings.max_unpacked_bytes:
        raise UserError(
            f"dataset.path {path} unpacks to {size} bytes or more, more than dataset.max_unpacked_bytes "
            f"{settings.max_unpacked_bytes}; raise that if it is no bomb"
        )


def _member_path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))  # some programs write Windows separators


class _TarBytes:
    """The bytes of a tar file, gunzipped. No more than `budget` are read, so that no header can ask for gigabytes."""

    def __init__(self, path: Path) -> None:
        plain = path.open("rb")
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        self.file = cast("IO[bytes]", gzip.GzipFile(fileobj=plain) if packed else plain)
        self.seek, self.tell, self.close = self.file.seek, self.file.tell, plain.close
        self.budget = HEADER_BYTES

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.budget:
            raise tarfile.ReadError(f"a header asks for {size} bytes")
        self.budget -= size
        return self.file.read(size)


def _open_tar(content: _TarBytes) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=cast("IO[bytes]", content))


def _is_tar(path: Path) -> bool:
    try:
        with closing(_TarBytes(path)) as content:
            _open_tar(content)
    except DAMAGED_ARCHIVE:
        return False
    return True


def _read_tar(path: Path, settings: DatasetSettings) -> Reading:
    def faces() -> Iterator[RawFace]:
        try:
            with closing(_TarBytes(path)) as content:
                archive = _open_tar(content)
                for member in _tar_members(archive, content, path, settings):
                    name = _member_path(member.name)
                    if is_image(name) and not member.isdir():
                        payload = _read_tar_member(content, member, settings.max_file_bytes)
                        yield RawFace(member.name, *label_and_split(name), payload)
                _check_end(archive.offset, content, path, settings)
        except (*DAMAGED_ARCHIVE, OSError) as error:
            raise UserError(
                f"dataset.path {path} is a damaged archive: {printable(str(error))}; {PACK_AGAIN}"
            ) from error

    return Reading(path.name, "archive", None, faces())


def _tar_members(
    archive: tarfile.TarFile, content: _TarBytes, path: Path, settings: DatasetSettings
) -> Iterator[tarfile.TarInfo]:
    """Yield a tar's members and keep none. Raises UserError for too many or too much, TarError for wrong headers."""
    count = 0
    while (member := archive.next()) is not None:
        count += 1
        if count > settings.max_images:
            raise UserError(f"dataset.path {path} lists more than {settings.max_images} files; {MORE_IMAGES}")
        _check_unpacked(member.offset_data + member.size, path, settings)
        if member.size < 0 or archive.offset < member.offset_data:  # it would lead back, and round and round
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        if len(archive.pax_headers) > GLOBAL_HEADERS:
            raise tarfile.ReadError(f"more than {GLOBAL_HEADERS} global headers")
        yield member
        cast(Any, archive).members.clear()
        content.budget = HEADER_BYTES


def _read_tar_member(content: _TarBytes, member: tarfile.TarInfo, limit: int) -> bytes | Exception:
    if member.islnk() or member.issym():
        return ValueError("a link, which is not followed; pack the set again with what it points to")
    if not member.isfile() or member.issparse():
        return ValueError("not a regular file")
    if member.size > limit:
        return too_large(member.size, limit)
    content.budget = member.size
    content.seek(member.offset_data)
    data = content.read(member.size)
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _check_end(offset: int, content: _TarBytes, path: Path, settings: DatasetSettings) -> None:
    """Raise UserError where a tar file does not end as it should: a damaged header reads like its end."""
    file = content.file
    file.seek(offset)
    end = file.read(tarfile.BLOCKSIZE)
    while not end.strip(b"\0") and (more := file.read(tarfile.RECORDSIZE)):
        _check_unpacked(file.tell(), path, settings)
        end = more
    if not end or end.strip(b"\0"):
        raise UserError(f"dataset.path {path} is a damaged archive: it breaks off in the middle; {PACK_AGAIN}")


class _Lines:
    """The lines of a text file, as long as no more than `left` characters are asked for before it is set again."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.left = file, ROW_CHARACTERS

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(self.left + 1):
            self.left -= len(line)
            if self.left < 0:
                raise csv.Error(f"a row of more than {ROW_CHARACTERS} characters")
            yield line


def read_csv(settings: DatasetSettings, seed: int) -> Reading:
    """Read FER2013's `emotion,pixels,Usage` or `icml_face_data.csv`: one face a row, grey levels as text.

    A code is FER2013's, whatever the order of dataset.class_names. Raises UserError on the way for a code whose
    emotion is not one of them.
    """
    path = settings.path
    csv.field_size_limit(ROW_CHARACTERS)
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        try:
            header = [name.strip().lower() for name in next(csv.reader(_Lines(file)), [])]
        except csv.Error as error:
            raise UserError(f"dataset.path {path}, line 1: {error}; expected emotion,pixels,Usage") from error
    missing = {"emotion", "pixels"} - set(header)
    if missing:
        raise UserError(
            f"dataset.path {path} has no column {' and '.join(sorted(missing))}; "
            f"expected emotion, pixels and (optionally) Usage, found {', '.join(header)[:80]!r}"
        )

    numbered = ", ".join(f"{code} {name}" for code, name in enumerate(FER2013_CODES))
    logger.info("dataset.path %s: the codes of its emotions are read as FER2013's (%s)", path, numbered)

    def faces() -> Iterator[RawFace]:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = _Lines(file)
            rows = csv.reader(lines, strict=True)  # an open quote would swallow the rest of the file
            try:
                next(rows)
                for row in rows:
                    lines.left = ROW_CHARACTERS
                    values = dict(zip(header, row, strict=False))
                    code = values.get("emotion", "").strip()
                    label = _fer2013_label(code, settings.class_names, f"{path}, line {rows.line_num}")
                    split = SPLIT_NAMES.get(values.get("usage", "").strip().lower(), UNASSIGNED)
                    yield RawFace(f"{path.name}:{rows.line_num}", label, split, values.get("pixels", ""))
            except csv.Error as error:
                raise UserError(f"dataset.path {path}, line {rows.line_num}: {error}") from error

    return Reading(path.name, "csv", None, faces())


def _fer2013_label(code: str, class_names: tuple[str, ...], place: str) -> str:
    """Return the emotion of a code; what is not a code of FER2013 stays as it is, and is not a class then."""
    if code not in map(str, range(len(FER2013_CODES))):
        return code
    label = FER2013_CODES[int(code)]
    if label not in class_names:
        raise UserError(
            f"dataset.path {place}: the code {code} is FER2013's {label}, which dataset.class_names "
            f"{list(class_names)} lacks; add it, or write the emotions' names into the column emotion"
        )
    return label


def read_drawn(settings: DatasetSettings, seed: int) -> Reading:
    """Draw faces instead of reading any."""
    drawn = draw_faces(settings.drawn, settings.class_names, settings.image_size, seed)
    faces = (RawFace(f"drawn/{i:06d}", label, UNASSIGNED, pixels) for i, (label, pixels) in enumerate(drawn))
    return Reading("drawn", "drawn", settings.drawn.faces, faces)


def read_kaggle(settings: DatasetSettings, seed: int) -> Reading:
    """Download `dataset.kaggle_name` with kagglehub (kept in its cache) and read its class folders."""
    located = settings.model_copy(update={"reader": "auto", "path": _download(settings)})
    return replace(open_dataset(located, seed), name=settings.kaggle_name)


def _download(settings: DatasetSettings) -> Path:
    """Return the folder of the newest version of Kaggle's data set, downloaded if it is not there."""
    try:
        kagglehub = importlib.import_module("kagglehub")
    except ImportError as error:
        raise UserError(
            "dataset.reader kaggle needs the package kagglehub: run `.venv/bin/pip install kagglehub`, "
            "or download the data set by hand and give its path with --dataset.path"
        ) from error
    try:
        return Path(kagglehub.dataset_download(settings.kaggle_name))
    except Exception as error:  # kagglehub raises requests', its own and OS errors alike
        raise UserError(
            f"kagglehub could not download dataset.kaggle_name {settings.kaggle_name}: {error}; "
            "check the network and the name, or download it by hand and give its path with --dataset.path"
        ) from error


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
        reading = READERS[located.reader](located, seed)
    except OSError as error:
        raise _unreadable(error, located.path) from error
    return replace(reading, faces=_at_most(located.max_images, reading, located.path))


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


def source_fingerprint(settings: DatasetSettings) -> str:
    """Hash what identifies the source without decoding it: names, sizes and times of its files.

    It is a cache key: equal fingerprints mean that ingestion need not run again. Raises UserError where a folder
    cannot be listed, and where Kaggle's data set cannot be had.
    """
    digest = hashlib.sha256(repr(settings).encode("utf-8", "backslashreplace"))
    root = _download(settings) if settings.reader == "kaggle" else settings.path
    if settings.reader == "drawn" or not root.exists():
        return digest.hexdigest()
    try:
        files = [root] if root.is_file() else sorted(walk(root))
    except OSError as error:
        raise _unreadable(error, root) from error
    for path in files:
        try:
            status = path.stat()
            digest.update(os.fsencode(path) + f"\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e".encode())
        except OSError as error:  # such as a link to nowhere, which will be a row with this error
            digest.update(os.fsencode(path) + f"\x1f{error.errno}\x1e".encode())
    return digest.hexdigest()


def _unreadable(error: OSError, path: Path) -> UserError:
    return UserError(f"dataset.path {error.filename or path} cannot be read: {error.strerror}")
