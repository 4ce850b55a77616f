"""Image reader: the faces of a folder or an archive, one image each."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.data.image_formats import NEEDS_HEIF, readable_formats
from vision.data.raw_faces import EXPECTED, MORE_IMAGES, RawFace, Reading, label_and_split
from vision.data.reading_notes import ReadingNotes
from vision.files.archives import Limits, member_path
from vision.files.file_sets import FileSet, describe_files
from vision.files.image_kinds import has_several_pictures

HEIC_SUFFIXES = (".heic", ".heif")


def limits_of(settings: DatasetSettings) -> Limits:
    """Return how much of a folder or an archive is read at most."""
    return Limits(settings.max_images, settings.max_file_bytes, settings.max_unpacked_bytes, "dataset", MORE_IMAGES)


def read_images(files: FileSet, settings: DatasetSettings, above: str = "") -> Reading:
    """Read class folders; any folder above the class folder may name the split, and so may `above`.

    Raises UserError where there is nothing that can be read.
    """
    notes = ReadingNotes(files.others)
    _check_readable(files, settings)

    def faces() -> Iterator[RawFace]:
        for name, payload in zip(files.images, files.read(range(len(files.images))), strict=True):
            if isinstance(payload, bytes) and has_several_pictures(payload):
                notes.several.append(name)
            yield RawFace(name, *label_and_split(PurePosixPath(above, member_path(name))), payload)

    return Reading(files.name, files.form, len(files.images), faces(), notes)


def _check_readable(files: FileSet, settings: DatasetSettings) -> None:
    if not files.images:
        found = f"; found {describe_files(files.others)}" if files.others else ""
        raise UserError(f"dataset.path {settings.path} holds no images{found}; expected {EXPECTED}")
    if "HEIF" not in readable_formats() and all(name.lower().endswith(HEIC_SUFFIXES) for name in files.images):
        raise UserError(f"dataset.path {settings.path} holds {describe_files(files.images)}; {NEEDS_HEIF}")
