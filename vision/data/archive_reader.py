"""Archive reader: class folders inside a zip or tar file."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.data.raw_faces import EXPECTED, MORE_IMAGES, RawFace, Reading, label_and_split
from vision.files.archives import (
    DAMAGED_ARCHIVE,
    Limits,
    check_unpacked,
    image_members,
    is_tar,
    member_path,
    open_zip,
    read_member,
    read_tar_images,
)
from vision.files.paths import printable


def read_archive(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders in a zip or tar file, without unpacking it onto the disk.

    Raises UserError, at once or on the way, where the archive is damaged or larger than the settings allow; OSError.
    """
    path = settings.path
    limits = Limits(settings.max_images, settings.max_file_bytes, settings.max_unpacked_bytes, "dataset", MORE_IMAGES)
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path, limits)
    except DAMAGED_ARCHIVE as error:
        raise _damaged(path, error) from error
    if is_tar(path):
        return _read_tar(path, limits)
    raise UserError(f"dataset.path {path} is not a readable zip or tar file; was it copied or downloaded completely?")


def _read_zip(path: Path, limits: Limits) -> Reading:
    archive = open_zip(path, limits.members, limits.way_out)
    members = image_members(archive)
    if not members:
        raise UserError(
            f"dataset.path {path} holds no images (a CSV or an archive in it must be unpacked first); "
            f"expected {EXPECTED}"
        )
    check_unpacked(sum(member.file_size for member in members), path, limits)

    def faces() -> Iterator[RawFace]:
        with archive:  # opening it again would hold its list of members twice
            for member in members:
                payload = read_member(archive, member, limits.file_bytes)
                yield RawFace(member.filename, *label_and_split(member_path(member.filename)), payload)

    return Reading(path.name, "archive", len(members), faces())


def _read_tar(path: Path, limits: Limits) -> Reading:
    def faces() -> Iterator[RawFace]:
        try:
            for name, payload in read_tar_images(path, limits):
                yield RawFace(name, *label_and_split(member_path(name)), payload)
        except (*DAMAGED_ARCHIVE, OSError) as error:
            raise _damaged(path, error) from error

    return Reading(path.name, "archive", None, faces())


def _damaged(path: Path, error: Exception) -> UserError:
    reason = printable(str(error))
    return UserError(f"dataset.path {path} is a damaged archive: {reason}; download it or pack it again")
