"""Manifests: Parquet tables that name pictures or hold them, a row each, in place of a listing of files."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from configs.paths import is_uri
from vision.files.paths import printable, read_file, too_large
from vision.inference.pictures import Payload, Pictures, Place, RawPicture

MANIFEST_SUFFIX = ".parquet"
URI, BYTES, SOURCE = "uri", "bytes", "source"  # the columns that a manifest of the user's may have
POSITION, REASON = "position", "reason"  # and what the manifest of a job has besides
TEXTS = (pa.string(), pa.large_string())
KINDS: dict[str, tuple[pa.DataType, ...]] = {URI: TEXTS, SOURCE: TEXTS, BYTES: (pa.binary(), pa.large_binary())}
STORES = frozenset({"s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"})  # schemes that pyarrow reads
READ_ROWS = 256
GROUP_ROWS, FILE_ROWS = 1024, 65_536
JOB_SCHEMA = pa.schema({
    POSITION: pa.int64(), SOURCE: pa.string(), URI: pa.string(), BYTES: pa.large_binary(), REASON: pa.string()
})  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """A manifest of the user's: `count` rows of pictures, read from any position.

    `there` is a file that a row names and that was there when the manifest was opened; None where that is not known.
    """

    path: Path
    file: pq.ParquetFile
    limit: int  # in bytes, of a picture
    there: Path | None = None

    @property
    def count(self) -> int:
        """The number of its rows."""
        return int(self.file.metadata.num_rows)

    @property
    def names_places(self) -> bool:
        """Whether its rows say where the pictures lie, and do not hold them."""
        return BYTES not in self.file.schema_arrow.names

    def places(self, start: int, stop: int) -> Iterator[Place]:
        """Yield source and full path or URI of the rows from position `start` to before `stop`."""
        folder = os.getcwd()  # where `read` has relative paths start; other machines work in folders of their own
        for row in self._rows(start, stop):
            place = row[URI] or ""
            yield _source(row), place if not place or is_uri(place) else os.path.join(folder, place)

    def files(self) -> Iterator[str]:
        """Yield the full paths of the files of this machine that its rows name."""
        for row in self._rows(0, self.count, [URI]) if URI in self.file.schema_arrow.names else ():
            if (place := row[URI]) and (path := local_file(place)) is not None:
                yield str(path.absolute())

    def find_one(self) -> Path | None:
        """Return the first file that a row names and that is there, or None where a row before it names a store.

        Raises UserError where the rows name neither.
        """
        first = ""
        for row in self._rows(0, self.count, [URI]):
            place = row[URI] or ""
            path = local_file(place)
            if path is not None and os.path.isfile(path):
                return path
            if path is None and _scheme(place) in STORES:
                return None
            first = first or place
        raise UserError(
            f"inference.input {self.path}: no row of {self.count:,} names a picture that can be read, such as "
            f"{printable(first) or 'an empty one'}; give paths of files that are there (is the disk mounted? relative "
            "ones start where this run does), or URIs such as s3://bucket/face.png"
        )

    def read(self, start: int, stop: int) -> Iterator[RawPicture]:
        """Yield the pictures from position `start` to before `stop`.

        Raises UserError where a picture that was there has gone: then its disk has, and others are not to blame.
        """
        there = self.there
        for position, row in enumerate(self._rows(start, stop), start):
            content, place = row.get(BYTES), row.get(URI) or ""
            if content is None:
                payload = read_place(place, self.limit)
                if isinstance(payload, OSError):
                    self._check_still_there(there)
                elif isinstance(payload, bytes):
                    there = local_file(place) or there
            else:
                payload = content if len(content) <= self.limit else too_large(len(content), self.limit, "inference")
            yield RawPicture(_source(row) or f"{self.path.name}#{position}", payload)

    def _check_still_there(self, there: Path | None) -> None:
        if there is not None and not os.path.isfile(there):
            raise UserError(
                f"inference.input {self.path}: {printable(str(there))} was there before and has gone while pictures "
                "were read; run again when it is back"
            )

    def _rows(self, start: int, stop: int, columns: Collection[str] = KINDS) -> Iterator[dict[str, Any]]:
        sizes = [self.file.metadata.row_group(number).num_rows for number in range(self.file.num_row_groups)]
        ends = [*accumulate(sizes)]
        wanted = [number for number, end in enumerate(ends) if start < end and stop > end - sizes[number]]
        position = ends[wanted[0]] - sizes[wanted[0]] if wanted else 0
        columns = [name for name in columns if name in self.file.schema_arrow.names]
        try:
            for batch in self.file.iter_batches(READ_ROWS, row_groups=wanted, columns=columns):
                first = max(0, start - position)
                yield from batch.slice(first, max(0, min(len(batch), stop - position) - first)).to_pylist()
                position += len(batch)
        except (OSError, ValueError, pa.ArrowException) as error:  # a page is damaged, or a text in it is not UTF-8
            raise UserError(
                f"inference.input {self.path} cannot be read from row {position:,} on: {_first_line(error)}; is it "
                "complete? Write it again"
            ) from error


def open_manifest(path: Path, settings: InferenceSettings) -> Manifest:
    """Open a manifest with a column `uri` or `bytes`, and perhaps `source`. Raises UserError for any other file."""
    try:
        file = pq.ParquetFile(path, memory_map=True)
        kinds = {field.name: field.type for field in file.schema_arrow}
    except (OSError, ValueError) as error:
        raise UserError(f"inference.input {path} is not a readable Parquet file: {_first_line(error)}") from error
    wrong = [f"{name} ({kinds[name]})" for name, allowed in KINDS.items() if kinds.get(name, allowed[0]) not in allowed]
    if wrong or not {URI, BYTES} & {*kinds}:
        found = ", ".join(wrong) or ", ".join(printable(name) for name in list(kinds)[:8]) or "nothing"
        raise UserError(
            f"inference.input {path} has {found}; a manifest has a column {URI} (text: a path or a URI such as "
            f"s3://bucket/face.png) or {BYTES} (binary: the picture itself), and may have {SOURCE} (text: its name)"
        )
    if not file.metadata.num_rows:
        raise UserError(f"inference.input {path} is a manifest without rows")
    return Manifest(path, file, settings.max_file_bytes)


def local_file(place: str) -> Path | None:
    """Return the file that a path or a file:// URI names on this machine, or None for any other URI."""
    if not is_uri(place):
        return Path(place)
    host, slash, path = place.partition("://")[2].partition("/")
    if _scheme(place) != "file" or host not in ("", "localhost"):
        return None
    return Path(os.fsdecode(unquote_to_bytes(slash + path)))  # as Path.as_uri quotes it


def read_place(place: str, limit: int) -> Payload:
    """Return the content of a path or URI, or the reason why it was not read; `limit` is in bytes.

    Raises UserError where a store does not answer or refuses us: that says nothing about the picture.
    """
    if not place:
        return ValueError("the manifest names no picture here")
    path = local_file(place)
    if path is not None:
        return read_file(path, limit, "inference")
    scheme = _scheme(place)
    if scheme not in STORES:
        return ValueError(f"{scheme}:// is not a store that can be read; give a path, or s3://bucket/face.png")
    try:
        system, name = _in_store(place)
        found = system.get_file_info(name)
        if found.type != pa_fs.FileType.File:
            return FileNotFoundError("not found in its store")
        if found.size > limit:
            return too_large(found.size, limit, "inference")
        with system.open_input_stream(name) as stream:
            return bytes(stream.read(limit))
    except ValueError as error:  # pyarrow's own is one; the address is wrong, such as s3:// without a bucket
        return error
    except OSError as error:
        raise UserError(
            f"inference.input: {printable(place)} cannot be read: {_first_line(error)}; run again when it can"
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _scheme(place: str) -> str:
    return place.partition("://")[0].lower()


def _in_store(place: str) -> tuple[pa_fs.FileSystem, str]:
    """Return a store, and what it calls an object; in an object's name `%`, `?` and `#` mean themselves."""
    store, _, name = place.partition("://")[2].partition("/")
    system, root = _file_system(f"{_scheme(place)}://{store}" if store else f"{_scheme(place)}:///")
    return system, f"{root.rstrip('/')}/{name}"


@lru_cache(maxsize=64)
def _file_system(store: str) -> tuple[pa_fs.FileSystem, str]:
    system, root = pa_fs.FileSystem.from_uri(store)
    return system, str(root)


def _source(row: dict[str, Any]) -> str:
    return printable(row.get(SOURCE) or row.get(URI) or "")


def write_manifest(pictures: Pictures, folder: str, system: pa_fs.FileSystem) -> None:
    """Write a job's manifest: pictures that lie each in a file by their place, all others as their bytes."""
    system.create_dir(folder, recursive=True)
    for start in range(0, pictures.count, FILE_ROWS):
        stop = min(start + FILE_ROWS, pictures.count)
        with (
            system.open_output_stream(f"{folder}/{start:012d}.parquet") as file,
            pq.ParquetWriter(file, JOB_SCHEMA) as writer,
        ):
            for first in range(start, stop, GROUP_ROWS):
                rows = [*_job_rows(pictures, first, min(first + GROUP_ROWS, stop))]
                writer.write_table(pa.Table.from_pylist(rows, JOB_SCHEMA))


def _job_rows(pictures: Pictures, start: int, stop: int) -> Iterator[dict[str, Any]]:
    if pictures.places is not None:
        for position, (source, place) in enumerate(pictures.places(start, stop), start):
            yield {POSITION: position, SOURCE: source, URI: place}
        return
    for position, picture in enumerate(pictures.read(start, stop), start):
        row: dict[str, Any] = {POSITION: position, SOURCE: picture.source}
        content = picture.payload
        yield row | (
            {BYTES: content} if isinstance(content, bytes) else {REASON: f"{type(content).__name__}: {content}"}
        )


def read_row(row: dict[str, Any], limit: int) -> RawPicture:
    """Return the picture of a row of a job's manifest. Raises UserError as `read_place` does."""
    if row[REASON] is not None:
        return RawPicture(row[SOURCE], ValueError(row[REASON]))
    content = row[BYTES]
    return RawPicture(row[SOURCE], read_place(row[URI], limit) if content is None else content)
