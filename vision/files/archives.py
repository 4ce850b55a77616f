"""Archives: zip and tar files, read member by member within limits and never unpacked onto the disk."""

import gzip
import io
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from configs.errors import UserError
from vision.files.image_kinds import HEAD_BYTES, is_image
from vision.files.paths import is_hidden, too_large

# what zipfile, tarfile and gzip raise for altered archives; RuntimeError: encrypted, or a later version of zip
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    OverflowError, RuntimeError,
)  # fmt: skip
ZIP_HEADER = 30  # bytes before a member's name
UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks other methods without a limit on memory
HEADER_BYTES = 65_536  # of one member of a tar file; tarfile would read whatever size a header claims
LISTED_CHARACTERS = 100_000_000  # of the names in a tar file; gzip packs a gigabyte of them into a megabyte
GLOBAL_HEADERS = 100  # of a tar file; tarfile keeps them all


@dataclass(frozen=True)
class Limits:
    """How many members and bytes of an archive are read at most.

    `section` names the settings that hold the limits; an error about too many members ends in `way_out`.
    """

    members: int
    file_bytes: int
    unpacked_bytes: int
    section: str
    way_out: str


def member_path(name: str) -> PurePosixPath:
    """Return a member's name as a path; some programs write Windows separators."""
    return PurePosixPath(name.replace("\\", "/"))


def check_unpacked(size: int, path: Path, limits: Limits) -> None:
    """Raise UserError where an archive's members have more bytes in all than `limits` allow."""
    if size > limits.unpacked_bytes:
        raise UserError(
            f"{path} unpacks to {size} bytes or more, more than {limits.section}.max_unpacked_bytes "
            f"{limits.unpacked_bytes}; raise it if you trust the archive"
        )


def _too_many(path: Path, limit: int, way_out: str) -> UserError:
    return UserError(f"{path} lists more than {limit} files; {way_out}")


class _ZipBytes(io.BufferedReader):
    """The bytes of a zip file; counts the members that it lists before zipfile makes an object of each."""

    def __init__(self, path: Path, limit: int, way_out: str) -> None:
        super().__init__(io.FileIO(path))
        self.path, self.limit, self.way_out = path, limit, way_out

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if content.count(b"PK\x01\x02") > self.limit:
            raise _too_many(self.path, self.limit, self.way_out)
        return content


def open_zip(path: Path, limit: int, way_out: str) -> zipfile.ZipFile:
    """Open a zip file of at most `limit` members.

    Raises UserError, which ends in `way_out`, where there are more. Raises one of DAMAGED_ARCHIVE where the file is
    not a zip file, and where members share bytes, which lets a small file unpack to a huge one (Fifield 2019).
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
    content.limit = sys.maxsize  # what is read from here on is not the list
    return archive


def image_members(archive: zipfile.ZipFile) -> tuple[list[zipfile.ZipInfo], list[zipfile.ZipInfo]]:
    """Return the images of a zip file, by name or first bytes, and its other files, both in its own order."""
    images: list[zipfile.ZipInfo] = []
    others: list[zipfile.ZipInfo] = []
    for member in archive.infolist():
        path = member_path(member.filename)
        if member.filename.endswith("/") or is_hidden(path):  # a name may be empty
            continue
        is_one = is_image(path, partial(_read_head, archive, member))
        (images if is_one else others).append(member)
    return images, others


def _read_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    head = read_member(archive, member, sys.maxsize, size=HEAD_BYTES)
    return head if isinstance(head, bytes) else b""


def read_member(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    limit: int,
    section: str = "dataset",
    size: int = sys.maxsize,
) -> bytes | Exception:
    """Return the content of a zip's member, or the reason why it was not read; the others may still be good.

    At most the first `size` bytes are read.
    """
    if member.compress_type not in UNPACKED:
        return ValueError(f"packed by method {member.compress_type}; only deflate is read, so pack it again")
    if member.file_size > limit:
        return too_large(member.file_size, limit, section)
    try:
        with archive.open(member) as file:
            return file.read(min(member.file_size, size))  # more would unpack everything, not what is claimed
    except (*DAMAGED_ARCHIVE, OSError) as error:
        return error


class _TarBytes:
    """The bytes of a tar file, gunzipped. At most `budget` are read, so that no header can ask for gigabytes."""

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


def is_tar(path: Path) -> bool:
    """Say whether the file starts as a tar file does, gzipped or not. Raises OSError."""
    try:
        with closing(_TarBytes(path)) as content:
            _open_tar(content)
    except DAMAGED_ARCHIVE:
        return False
    return True


@dataclass(frozen=True)
class TarFile:
    """A file in a tar file: its name, and where its content lies in the unpacked archive, in bytes."""

    name: str
    start: int
    size: int


def list_tar(path: Path, limits: Limits) -> tuple[list[TarFile], list[TarFile]]:
    """Return the images of a tar file, by name or first bytes, and its other files, both in its own order.

    Raises UserError for more members or bytes than `limits` allow; one of DAMAGED_ARCHIVE, or OSError, where the
    file is damaged.
    """
    images: list[TarFile] = []
    others: list[TarFile] = []
    characters = 0
    with closing(_TarBytes(path)) as content:
        archive = _open_tar(content)
        for member in _tar_members(archive, content, path, limits):
            name = member_path(member.name)
            if member.isdir() or is_hidden(name):
                continue
            characters += len(member.name)
            if characters > LISTED_CHARACTERS:
                raise tarfile.ReadError(f"names of more than {LISTED_CHARACTERS} characters in all")
            is_one = is_image(name, partial(_tar_head, content, member))
            (images if is_one else others).append(
                TarFile(member.name, member.offset_data, member.size if member.isfile() else 0)
            )
        _check_end(archive.offset, content, path, limits)
    return images, others


def read_tar(path: Path, limits: Limits, starts: Collection[int]) -> Iterator[bytes | Exception]:
    """Yield the content of the files that start there, in the archive's order, or the reason why one was not read.

    Raises as list_tar does.
    """
    missing = set(starts)
    with closing(_TarBytes(path)) as content:
        for member in _tar_members(_open_tar(content), content, path, limits):
            if member.offset_data in missing:
                yield _read_tar_member(content, member, limits)
                missing.remove(member.offset_data)
            if not missing:
                return
    raise tarfile.ReadError("it changed while it was read")


class _Part(io.RawIOBase):
    """The content of one file in a tar file, read piece by piece."""

    def __init__(self, content: _TarBytes, part: TarFile) -> None:
        super().__init__()
        self.content, self.left = content, part.size
        content.seek(part.start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self.content.file.read(min(len(buffer), self.left))
        buffer[: len(piece)] = piece
        self.left -= len(piece)
        return len(piece)

    def close(self) -> None:
        self.content.close()
        super().close()


def open_tar_file(path: Path, part: TarFile) -> IO[bytes]:
    """Open a file in a tar file for reading from its start to its end. Raises OSError."""
    return io.BufferedReader(_Part(_TarBytes(path), part))


def _tar_members(archive: tarfile.TarFile, content: _TarBytes, path: Path, limits: Limits) -> Iterator[tarfile.TarInfo]:
    """Yield a tar's members and keep none. Raises UserError for too many or too much, TarError for wrong headers."""
    count = 0
    while (member := archive.next()) is not None:
        count += 1
        if count > limits.members:
            raise _too_many(path, limits.members, limits.way_out)
        check_unpacked(member.offset_data + member.size, path, limits)
        if member.size < 0 or archive.offset < member.offset_data:  # reading would go back, and never end
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        if len(archive.pax_headers) > GLOBAL_HEADERS:
            raise tarfile.ReadError(f"more than {GLOBAL_HEADERS} global headers")
        yield member
        cast(Any, archive).members.clear()
        content.budget = HEADER_BYTES


def _tar_head(content: _TarBytes, member: tarfile.TarInfo) -> bytes:
    if not member.isfile() or member.issparse():
        return b""
    content.budget = HEAD_BYTES
    content.seek(member.offset_data)
    return content.read(min(HEAD_BYTES, member.size))


def _read_tar_member(content: _TarBytes, member: tarfile.TarInfo, limits: Limits) -> bytes | Exception:
    if member.islnk() or member.issym():
        return ValueError("a link, which is not followed; pack the set again with what it points to")
    if not member.isfile() or member.issparse():
        return ValueError("not a regular file")
    if member.size > limits.file_bytes:
        return too_large(member.size, limits.file_bytes, limits.section)
    content.budget = member.size
    content.seek(member.offset_data)
    data = content.read(member.size)
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _check_end(offset: int, content: _TarBytes, path: Path, limits: Limits) -> None:
    """Raise ReadError where a tar file does not end as it should: a damaged header looks like the end."""
    file = content.file
    file.seek(offset)
    end = file.read(tarfile.BLOCKSIZE)
    while not end.strip(b"\0") and (more := file.read(tarfile.RECORDSIZE)):
        check_unpacked(file.tell(), path, limits)
        end = more
    if not end or end.strip(b"\0"):
        raise tarfile.ReadError("it breaks off in the middle")
