"""Sources: which reader fits a path, by the content of the files there."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from configs.errors import UserError
from vision.data.csv_reader import FACES, is_votes, read_header, table_of
from vision.data.layouts import class_last
from vision.data.raw_faces import EXPECTED
from vision.data.shards_reader import is_shard
from vision.data.split_names import SplitNames, check_one_set
from vision.files.file_sets import describe_files
from vision.files.image_kinds import is_image
from vision.files.paths import is_hidden, is_image_file, read_head, walk_folders
from vision.files.tar_files import is_tar

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
OTHER_ARCHIVES = (".7z", ".rar", ".xz", ".bz2", ".zst")
NOTES = ("readme", "license", "licence")  # starts of names of files that say nothing about what the folder holds
HEADER_BYTES = 2000  # of a table; that of icml_face_data.csv has 24
LOOKED_AT = 8  # files of a folder without an image by name


def find_dataset(path: Path, splits: Mapping[str, str | None] | None = None) -> tuple[str, Path] | None:
    """Return the reader's name and the path that it should read, or None if there is nothing but a README.

    `path` is an archive, a CSV file, a folder of class folders, a folder that holds a single archive or CSV, or one of
    archives that are named after the splits. Raises UserError for what is not a data set, and for several side by side.
    """
    try:
        if path.is_file():
            if form := _form_of(path):
                return form, path
            way_out = "; unpack it first" if path.suffix.lower() in OTHER_ARCHIVES else ""
            raise UserError(f"dataset.path {path} is a file of unknown kind{way_out}; expected {EXPECTED}")
        return _find_in_folder(path, splits or {}) if path.is_dir() else None
    except OSError as error:
        raise UserError(f"dataset.path {error.filename or path} cannot be read: {error.strerror}") from error


def archives_of_splits(folder: Path, splits: Mapping[str, str | None]) -> list[Path]:
    """Return the archives in a folder, if there are several and each has the name of another split."""
    archives = [entry for entry in _entries(folder) if entry.is_file() and _form_of(entry) == "archive"]
    names = SplitNames(splits)
    said = [names.of(archive_stem(archive)) for archive in archives]
    return archives if len(archives) > 1 and all(said) and len(set(said)) == len(said) else []


def archive_stem(path: Path) -> str:
    """Return an archive's name without its ending, which is `fer.train` of fer.train.tar.gz."""
    ending = next((ending for ending in ARCHIVE_SUFFIXES if path.name.lower().endswith(ending)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _find_in_folder(path: Path, splits: Mapping[str, str | None]) -> tuple[str, Path] | None:
    entries = _entries(path)
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir()]
    forms = {entry: _form_of(entry) for entry in files}
    images = [entry for entry in files if not forms[entry] and is_image_file(entry)]
    packed = [entry for entry in files if forms[entry]]
    if len(packed) > 1 or folders or images:  # then a table without faces belongs to something else
        packed = [entry for entry in packed if forms[entry] != "csv" or _may_hold_faces(entry)]
    if not folders and not images:
        if len(packed) == 1:
            return forms[packed[0]], packed[0]
        if votes := _ferplus(packed, forms):
            return "csv", votes
        if packed and all(forms[entry] == "shards" for entry in packed):
            return "shards", path
        if len(archives_of_splits(path, splits)) == len(packed) > 1:
            return "archive", path
    if len(packed) > 1 or (packed and (folders or images)):
        names = ", ".join(entry.name for entry in [*folders, *packed, *images][:6])
        raise UserError(
            f"{path} holds more than one data set ({names}); choose one with --dataset.path, or --dataset.reader folder"
        )
    said = SplitNames(splits)
    check_one_set({class_last(parts, said) for parts in _image_folders(path)}, said, path)
    if folders or images:
        return "folder", path
    if files:
        found = describe_files([entry.name for entry in files])
        way_out = "; unpack it first" if any(entry.suffix.lower() in OTHER_ARCHIVES for entry in files) else ""
        raise UserError(
            f"dataset.path {path} holds no data set that is recognised; found {found}{way_out}; expected {EXPECTED}"
        )
    return None


def _image_folders(root: Path) -> Iterator[tuple[str, ...]]:
    """Yield the parts of the paths of folders below `root` with images, by name or, of the first, by content."""
    for folder, files in walk_folders(root):
        within = folder.relative_to(root)
        if is_hidden(PurePosixPath(within)):
            continue
        named = any(is_image(PurePosixPath(name), bytes) for name in files)
        if named or any(is_image_file(folder / name) for name in files[:LOOKED_AT]):
            yield within.parts


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds that may be a part of a data set."""
    shown = (entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX")
    return sorted(entry for entry in shown if entry.is_dir() or not entry.name.lower().startswith(NOTES))


def _form_of(path: Path) -> str:
    """Return the reader of a file, by its ending or its content, or "" where there is none."""
    lowered = path.name.lower()
    if lowered.endswith(ARCHIVE_SUFFIXES):
        return "shards" if lowered.endswith(".tar") and is_shard(path) else "archive"
    if lowered.endswith(".csv"):
        return "csv"
    head = read_head(path)
    if not head or is_image(path, lambda: head):
        return ""
    if zipfile.is_zipfile(path) or is_tar(path):
        return "archive"
    with path.open("rb") as file:
        first = file.read(HEADER_BYTES).partition(b"\n")[0].decode("utf-8-sig", "replace")
    columns = {name.strip().strip('"').lower() for name in first.split(",")}
    return "csv" if columns >= FACES or is_votes(tuple(columns)) else ""


def _may_hold_faces(path: Path) -> bool:
    """Say whether a CSV is more than a list beside images: it has FER2013's or FER+'s columns, or none."""
    header = read_header(table_of(path))
    return not any(header) or set(header) >= FACES or is_votes(header)


def _ferplus(packed: Sequence[Path], forms: Mapping[Path, str]) -> Path | None:
    """Return the votes of FER+ where they stand beside one table of faces and nothing else."""
    if len(packed) != 2 or any(forms[entry] != "csv" for entry in packed):
        return None
    votes = [entry for entry in packed if is_votes(read_header(table_of(entry)))]
    return votes[0] if len(votes) == 1 else None
