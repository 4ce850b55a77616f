"""Archives: their limits, and zip files, read member by member within these and never unpacked onto the disk."""

import gzip
import io
import struct
import sys
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import overload

from configs.errors import UserError
from vision.files.image_kinds import HEAD_BYTES, is_image
from vision.files.packed_names import PackedNames
from vision.files.paths import is_hidden, too_large

# what zipfile, tarfile and gzip raise for altered archives; RuntimeError: encrypted, or a later version of zip
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error, EOFError, ValueError,
    OverflowError, RuntimeError,
)  # fmt: skip
ZIP_HEADER = 30  # bytes before a member's name
UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks other methods without a limit on memory


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


def too_many(path: Path, limit: int, way_out: str) -> UserError:
    """Return the error about an archive of more than `limit` members."""
    return UserError(f"{path} lists more than {limit} files; {way_out}")


class _ZipBytes(io.BufferedReader):
    """The bytes of a zip file; counts the members that it lists before zipfile makes an object of each."""

    def __init__(self, path: Path, limit: int, way_out: str) -> None:
        super().__init__(io.FileIO(path))
        self.path, self.limit, self.way_out = path, limit, way_out

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if content.count(b"PK\x01\x02") > self.limit:
            raise too_many(self.path, self.limit, self.way_out)
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
        if ordered and not 0 <= ordered[0].header_offset <= ordered[-1].header_offset <= sys.maxsize:
            raise zipfile.BadZipFile("a member lies outside the file, whose beginning may be missing")
        for one, following in pairwise(ordered):
            if one.header_offset + ZIP_HEADER + one.compress_size > following.header_offset:
                raise zipfile.BadZipFile(f"{one.filename!r} and {following.filename!r} overlap, as in a zip bomb")
    except BaseException:
        content.close()
        raise
    content.limit = sys.maxsize  # what is read from here on is not the list
    return archive


class ZipMembers(Sequence[zipfile.ZipInfo]):
    """Members of a zip file, packed; zipfile's own object of each takes half a kilobyte."""

    FIELDS = ("header_offset", "compress_size", "file_size", "CRC", "flag_bits", "compress_type")

    def __init__(self) -> None:
        self.names, self.numbers = PackedNames(), array("Q")

    def append(self, member: zipfile.ZipInfo) -> None:
        """Add a member at the end."""
        self.names.append(member.filename)
        self.numbers.extend(getattr(member, field) for field in self.FIELDS)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, position: int) -> zipfile.ZipInfo: ...

    @overload
    def __getitem__(self, position: slice) -> list[zipfile.ZipInfo]: ...

    def __getitem__(self, position: int | slice) -> zipfile.ZipInfo | list[zipfile.ZipInfo]:
        if isinstance(position, slice):
            return [self[place] for place in range(*position.indices(len(self)))]
        member = zipfile.ZipInfo(self.names[position])
        start = range(len(self))[position] * len(self.FIELDS)
        for field, number in zip(self.FIELDS, self.numbers[start : start + len(self.FIELDS)], strict=True):
            setattr(member, field, number)
        return member


def image_members(archive: zipfile.ZipFile) -> tuple[ZipMembers, ZipMembers]:
    """Return the images of a zip file, by name or first bytes, and its other files, both in its own order.

    The archive forgets its own list, which takes five times as much memory.
    """
    images, others = ZipMembers(), ZipMembers()
    for member in archive.infolist():
        path = member_path(member.filename)
        if member.filename.endswith("/") or is_hidden(path):  # a name may be empty
            continue
        is_one = is_image(path, partial(_read_head, archive, member))
        (images if is_one else others).append(member)
    archive.filelist.clear()
    archive.NameToInfo.clear()
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
