"""Archive reader: class folders or a CSV inside a zip or tar file, or archives that are a split each."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

from configs.data_settings import DatasetSettings
from configs.errors import UserError
from vision.data.csv_reader import faces_among, is_votes, read_header, read_tables, tables_of
from vision.data.image_reader import NOWHERE, limits_of, read_images
from vision.data.layouts import Placed, class_last
from vision.data.raw_faces import EXPECTED, Reading
from vision.data.reading_notes import merge_notes
from vision.data.sources import archive_stem, archives_of_splits
from vision.data.split_names import SplitNames, check_one_set
from vision.files.archives import member_path
from vision.files.file_sets import FileSet, describe_files, open_files


def read_archive(settings: DatasetSettings, seed: int) -> Reading:
    """Read class folders or a CSV in a zip or tar file, without unpacking it onto the disk.

    The path may be a folder of archives that are a split each. Raises UserError, at once or on the way, where an
    archive is damaged or larger than the settings allow; OSError.
    """
    if not settings.local_path.is_dir():
        return _read_one(settings)
    paths = archives_of_splits(settings.local_path, settings.splits)
    if not paths:
        raise UserError(f"dataset.path {settings.path} holds no archives that are named after splits")
    parts = [_read_split(path, settings) for path in paths]
    counts = [part.count or 0 for part in parts]
    faces = chain.from_iterable(part.faces for part in parts)
    notes = merge_notes([part.notes for part in parts])
    return Reading(settings.local_path.resolve().name, "archive", sum(counts), faces, notes)


def _read_split(path: Path, settings: DatasetSettings) -> Reading:
    located = settings.model_copy(update={"path": path})
    split = SplitNames(settings.splits).of(archive_stem(path))
    reading = _read_images(open_files(path, limits_of(settings)), located, Placed(split=split, place=path.name))
    # so that happy/1.png has a name of its own in each archive
    return replace(reading, faces=(replace(face, source=f"{path.name}/{face.source}") for face in reading.faces))


def _read_images(files: FileSet, settings: DatasetSettings, outer: Placed) -> Reading:
    names = SplitNames(settings.splits)
    folders = {class_last(member_path(name).parent.parts, names) for name in files.images}
    check_one_set(folders, names, settings.local_path)
    return read_images(files, settings, outer)


def _read_one(settings: DatasetSettings) -> Reading:
    path = settings.local_path
    files = open_files(path, limits_of(settings))
    if files.images:
        return _read_images(files, settings, NOWHERE)
    tables = tables_of(files, path)
    if faces := faces_among(tables):
        votes = [table for table in tables if is_votes(read_header(table))]
        return read_tables(path.name, faces, votes[0] if votes else None, settings)
    found = f"; found {describe_files(files.others)}" if files.others else ""
    inside = " (an archive in it must be unpacked first)" if files.others else ""
    raise UserError(f"dataset.path {path} holds no images{inside}{found}; expected {EXPECTED}")
