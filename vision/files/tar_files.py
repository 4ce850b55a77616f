"""Tar files, gzipped or not, read member by member within limits and never unpacked onto the disk."""

import gzip
import io
import tarfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast, overload

from vision.files.archives import DAMAGED_ARCHIVE, Limits, check_unpacked, member_path, too_many
from vision.files.image_kinds import HEAD_BYTES, is_image
from vision.files.packed_names import PackedNames
from vision.files.paths import is_hidden, too_large

HEADER_BYTES = 65_536  # of one member of a tar file; tarfile would read whatever size a header claims
LISTED_CHARACTERS = 100_000_000  # of the names in a tar file; gzip packs a gigabyte of them into a megabyte
GLOBAL_HEADERS = 100  # of a tar file; tarfile keeps them all


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


class TarFiles(Sequence[TarFile]):
    """Files in a tar file, packed."""

    def __init__(self) -> None:
        self.names, self.starts, self.sizes = PackedNames(), array("Q"), array("Q")

    def append(self, file: TarFile) -> None:
        """Add a file at the end."""
        self.names.append(file.name)
        self.starts.append(file.start)
        self.sizes.append(file.size)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, position: int) -> TarFile: ...

    @overload
    def __getitem__(self, position: slice) -> list[TarFile]: ...

    def __getitem__(self, position: int | slice) -> TarFile | list[TarFile]:
        if isinstance(position, slice):
            return [self[place] for place in range(*position.indices(len(self)))]
        return TarFile(self.names[position], self.starts[position], self.sizes[position])


def list_tar(path: Path, limits: Limits) -> tuple[TarFiles, TarFiles]:
    """Return the images of a tar file, by name or first bytes, and its other files, both in its own order.

    Raises UserError for more members or bytes than `limits` allow; one of DAMAGED_ARCHIVE, or OSError, where the
    file is damaged.
    """
    images, others = TarFiles(), TarFiles()
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


def stream_tar(
    path: Path, limits: Limits, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[PurePosixPath, bytes | Exception]]:
    """Yield the files that are wanted by name, in the archive's order, each with its content or why it was not read.

    Nothing is listed first and nothing kept. Raises as list_tar does.
    """
    with closing(_TarBytes(path)) as content:
        archive = _open_tar(content)
        for member in _tar_members(archive, content, path, limits):
            name = member_path(member.name)
            if not member.isdir() and not is_hidden(name) and wanted(name):
                yield name, _read_tar_member(content, member, limits)
        _check_end(archive.offset, content, path, limits)


def read_tar(path: Path, limits: Limits, starts: Iterable[int]) -> Iterator[bytes | Exception]:
    """Yield the content of the files that start there, ascending, or the reason why one was not read.

    Raises as list_tar does.
    """
    awaited = iter(starts)
    if (start := next(awaited, None)) is None:
        return
    with closing(_TarBytes(path)) as content:
        for member in _tar_members(_open_tar(content), content, path, limits):
            if member.offset_data == start:
                yield _read_tar_member(content, member, limits)
                if (start := next(awaited, None)) is None:
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
            raise too_many(path, limits.members, limits.way_out)
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
