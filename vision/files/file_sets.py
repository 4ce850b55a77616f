"""File sets: the images and other files of a folder or an archive, listed first and read later."""

import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from configs.errors import UserError
from vision.files.archives import (
    DAMAGED_ARCHIVE,
    UNPACKED,
    Limits,
    check_unpacked,
    image_members,
    member_path,
    open_zip,
    read_member,
)
from vision.files.packed_names import PackedNames
from vision.files.paths import is_hidden, is_image_file, printable, read_file, walk
from vision.files.tar_files import is_tar, list_tar, open_tar_file, read_tar

ENCRYPTED = 1  # in the flags of a zip's member
FILES_AN_IMAGE = 10  # that a folder may hold for each image that is allowed
SHOWN_KINDS, SHOWN_NAMES = 8, 3


@dataclass(frozen=True)
class FileSet:
    """The files of a folder or an archive that are not hidden.

    `images` begin as one or are named as one; `others` are the rest. Both are names as they stand there, in the
    order in which they are read. `read` yields the content of the images at ascending positions, or the reason why
    one cannot be read; `read_others` does so for other files by their name. `open_other` opens a large one, and
    raises UserError where that is not possible.
    """

    name: str
    form: str
    images: Sequence[str]
    others: Sequence[str]
    read: Callable[[Sequence[int]], Iterator[bytes | Exception]]
    read_others: Callable[[Collection[str]], dict[str, bytes | Exception]]
    open_other: Callable[[str], IO[bytes]]


def open_files(path: Path, limits: Limits) -> FileSet:
    """List a folder, a zip or a tar file. Raises UserError for an archive that is damaged or too large; OSError."""
    if path.is_dir():
        return _open_folder(path, limits)
    try:
        if zipfile.is_zipfile(path):
            return _open_zip(path, limits)
    except DAMAGED_ARCHIVE as error:
        raise _damaged(path, error, limits) from error
    if is_tar(path):
        return _open_tar(path, limits)
    raise UserError(
        f"{limits.section}.path {path} is not a readable zip or tar file; was it copied or downloaded completely?"
    )


def describe_files(names: Sequence[str]) -> str:
    """Count files by their ending, and name a few: `12 files (9 .txt, 3 .mp4; for example a.txt)`."""
    counted = Counter(member_path(name).suffix.lower() or "without ending" for name in names).most_common()
    kinds = [f"{count:,} {printable(kind)[:20]}" for kind, count in counted[:SHOWN_KINDS]]
    if rest := sum(count for _, count in counted[SHOWN_KINDS:]):
        kinds.append(f"{rest:,} others")
    examples = ", ".join(printable(name)[-60:] for name in names[:SHOWN_NAMES])
    return f"{len(names):,} {'file' if len(names) == 1 else 'files'} ({', '.join(kinds)}; for example {examples})"


def _open_folder(root: Path, limits: Limits) -> FileSet:
    images: list[str] = []
    others: list[str] = []
    for path in walk(root):
        name = path.relative_to(root).as_posix()
        if is_hidden(PurePosixPath(name)):
            continue
        is_one = path.suffix != ".npy" and is_image_file(path)  # AffectNet has half a million of them
        (images if is_one else others).append(name)
        if len(images) > limits.members:
            raise _too_many(root, limits.members, "images", limits)
        if len(others) > FILES_AN_IMAGE * limits.members:
            raise _too_many(root, FILES_AN_IMAGE * limits.members, "files that are not images", limits)
    packed = PackedNames(sorted(images))
    others.sort()

    def read(positions: Sequence[int]) -> Iterator[bytes | Exception]:
        return (read_file(root / packed[position], limits.file_bytes, limits.section) for position in positions)

    def read_others(names: Collection[str]) -> dict[str, bytes | Exception]:
        return {
            name: read_file(root / name, limits.file_bytes, limits.section) for name in sorted({*names} & {*others})
        }

    return FileSet(
        root.resolve().name, "folder", packed, others, read, read_others, lambda name: (root / name).open("rb")
    )


def _too_many(root: Path, limit: int, what: str, limits: Limits) -> UserError:
    return UserError(f"{limits.section}.path {root} holds more than {limit} {what}; {limits.way_out}")


def _open_zip(path: Path, limits: Limits) -> FileSet:
    archive = open_zip(path, limits.members, limits.way_out)
    images, others = image_members(archive)
    check_unpacked(sum(member.file_size for member in images), path, limits)
    if images and all(member.flag_bits & ENCRYPTED for member in images):
        raise UserError(f"{limits.section}.path {path} is encrypted; unpack it with its password, and name the folder")

    def read(positions: Sequence[int]) -> Iterator[bytes | Exception]:
        with archive:  # opening it again would hold its list of members twice
            for position in positions:
                yield read_member(archive, images[position], limits.file_bytes, limits.section)

    def read_others(names: Collection[str]) -> dict[str, bytes | Exception]:
        chosen = set(names)
        wanted = [member for member in others if member.filename in chosen]
        return {member.filename: read_member(archive, member, limits.file_bytes, limits.section) for member in wanted}

    def open_other(name: str) -> IO[bytes]:
        member = next(member for member in others if member.filename == name)
        check_unpacked(member.file_size, path, limits)
        if member.compress_type not in UNPACKED:
            raise UserError(
                f"{path}: {printable(name)} is packed in a way that is not read; pack it again with deflate"
            )
        try:
            return archive.open(member)
        except DAMAGED_ARCHIVE as error:
            raise _damaged(path, error, limits) from error

    return FileSet(path.name, "archive", images.names, others.names, read, read_others, open_other)


def _open_tar(path: Path, limits: Limits) -> FileSet:
    with whole_tar(path, limits):
        images, others = list_tar(path, limits)

    def read(positions: Sequence[int]) -> Iterator[bytes | Exception]:
        with whole_tar(path, limits):
            yield from read_tar(path, limits, (images.starts[position] for position in positions))

    def read_others(names: Collection[str]) -> dict[str, bytes | Exception]:
        chosen = set(names)
        wanted = [file for file in others if file.name in chosen]
        with whole_tar(path, limits):
            contents = list(read_tar(path, limits, [file.start for file in wanted]))
        return {file.name: content for file, content in zip(wanted, contents, strict=True)}

    def open_other(name: str) -> IO[bytes]:
        return open_tar_file(path, next(file for file in others if file.name == name))

    return FileSet(path.name, "archive", images.names, others.names, read, read_others, open_other)


@contextmanager
def whole_tar(path: Path, limits: Limits) -> Iterator[None]:
    """Turn what a damaged tar file raises into a UserError."""
    try:
        yield
    except (*DAMAGED_ARCHIVE, OSError) as error:
        raise _damaged(path, error, limits) from error


def _damaged(path: Path, error: Exception, limits: Limits) -> UserError:
    reason = printable(str(error))
    return UserError(f"{limits.section}.path {path} is a damaged archive: {reason}; download it or pack it again")
