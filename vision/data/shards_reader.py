"""Shards reader: WebDataset's tar files, streamed: of each sample an image and, under the same name, its label."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from configs.data_settings import DatasetSettings
from configs.errors import UserError
from vision.data.faces import UNASSIGNED
from vision.data.image_reader import limits_of
from vision.data.label_codes import Labels, is_class
from vision.data.raw_faces import RawFace, Reading
from vision.data.reading_notes import ReadingNotes
from vision.data.split_names import SplitNames, check_split_folders
from vision.files.archives import DAMAGED_ARCHIVE, Limits
from vision.files.file_sets import describe_files, whole_tar
from vision.files.image_kinds import is_image
from vision.files.packed_names import PackedNames
from vision.files.paths import is_hidden, printable, walk
from vision.files.tar_files import stream_tar

Files = list[tuple[str, bytes | Exception]]
LABELS = (".cls", ".json")  # the class as text or number, or an object with one of the fields below
FIELDS = ("label", "emotion", "class", "cls")
TAR = re.compile(r"\.(tar|tar\.gz|tgz)$", re.IGNORECASE)
NUMBERED = re.compile(r"([\W_]+\d+[\W_]+of)?[\W_]*\d+$")  # end of a shard's name: -000007 or -000007-of-000010
LABEL_BYTES = 65_536
HEADERS = Limits(members=100, file_bytes=0, unpacked_bytes=1_000_000_000, section="dataset", way_out="")
LOOKED_AT = 8  # files at the beginning of a tar file, which show whether it is a shard
NAME_CHARACTERS = 100  # kept of the name of a file that is left out


def read_shards(settings: DatasetSettings, seed: int) -> Reading:
    """Read a shard, or all shards of a folder in the order of their names, in one pass; nothing is listed first.

    The name of a shard, or of a folder above it, may say the split. webdataset's own code is not used: it has no
    limits, and unpickles what a name asks for. Raises UserError, at once or on the way, where a shard is damaged or too
    large, and where the split of some is known and of others is not; OSError.
    """
    path = settings.local_path
    others = PackedNames()
    shards = [path] if path.is_file() else _find_shards(path, others)
    if not shards:
        found = f"; found {describe_files(others)}" if others else ""
        raise UserError(f"dataset.path {path} holds no shards (.tar, .tar.gz or .tgz){found}")
    notes = ReadingNotes(Labels(settings), "WebDataset", others)
    faces = _read(shards, _splits(shards, settings), settings, notes, others)
    return Reading(path.resolve().name, "shards", None, faces, notes)


def is_shard(path: Path) -> bool:
    """Say whether a tar file begins with samples: an image and its label, not in the folder of a class. Raises OSError.

    Nothing but headers is read.
    """
    try:
        names = [name for name, _ in islice(stream_tar(path, HEADERS, lambda name: True), LOOKED_AT)]
    except (*DAMAGED_ARCHIVE, UserError):  # the reader of archives says what is wrong
        return False
    labelled = {_key(name) for name in names if _kind(name) in LABELS}
    images = [name for name in names if is_image(name, bytes)]
    return any(_key(name) in labelled and not is_class(name.parent.name) for name in images)


def _find_shards(root: Path, others: PackedNames) -> list[Path]:
    """Return the shards below a folder in the order of their names; add the names of other files there."""
    shards = []
    for path in walk(root):
        name = path.relative_to(root).as_posix()
        if is_hidden(PurePosixPath(name)):
            continue
        if TAR.search(name):
            shards.append(path)
        else:
            others.append(name[-NAME_CHARACTERS:])
    return sorted(shards)


def _splits(shards: list[Path], settings: DatasetSettings) -> list[tuple[str, str]]:
    """Return the split of each shard and where that stands. Raises UserError where it is known of some of them only."""
    names, path = SplitNames(settings.splits), settings.local_path
    root = path if path.is_dir() else path.parent
    # the root's own name counts, so that `--dataset.path shards/test` is still test data
    above = root.resolve().name
    split = names.of_all(above)
    outer = (split, f"folder {above}") if split else (UNASSIGNED, "shards whose names are not of a split")
    parts = [(*shard.relative_to(root).parent.parts, _series(shard.name, names)) for shard in shards]
    if not split:
        check_split_folders({(*part, "") for part in parts}, names, path)
    places = [next((name for name in reversed(part) if names.of(name)), "") for part in parts]
    return [(names.of(place), f"shards {place}") if place else outer for place in places]


def _series(name: str, names: SplitNames) -> str:
    """Return a shard's name without its number; with it where dataset.splits has that or nothing else is left."""
    stem = TAR.sub("", name)
    return stem if names.is_given(stem) else NUMBERED.sub("", stem) or stem


def _read(
    shards: list[Path],
    splits: list[tuple[str, str]],
    settings: DatasetSettings,
    notes: ReadingNotes,
    others: PackedNames,
) -> Iterator[RawFace]:
    root = settings.local_path
    for shard, (split, place) in zip(shards, splits, strict=True):
        within = shard.relative_to(root).as_posix() if shard != root else shard.name
        for key, files in _samples(shard, limits_of(settings), others):
            face = _face(f"{within}/{printable(key)}", files, notes)
            if face is None:
                continue
            notes.splits[split, place] += 1
            yield RawFace(face.source, face.label, split, face.payload)


def _samples(shard: Path, limits: Limits, others: PackedNames) -> Iterator[tuple[str, Files]]:
    """Yield a shard's samples: the name that its files share, and the images and labels, each with its ending.

    The names of other files are added to `others`.
    """

    def wanted(name: PurePosixPath) -> bool:
        known = _kind(name) in LABELS or is_image(name, bytes)
        if not known:
            others.append(str(name)[-NAME_CHARACTERS:])
        return known

    key, files = "", Files()
    with whole_tar(shard, limits):
        for name, content in stream_tar(shard, limits, wanted):
            if _key(name) != key:
                if files:
                    yield key, files
                key, files = _key(name), Files()
            files.append((_kind(name), content))
    if files:
        yield key, files


def _face(source: str, files: Files, notes: ReadingNotes) -> RawFace | None:
    """Return the face of a sample, or None where it is left out, which is counted."""
    images = [file for file in files if file[0] not in LABELS]
    labels = sorted((file for file in files if file[0] in LABELS), key=lambda file: file[0])  # .cls before .json
    if not images or not labels:
        notes.without["without an image" if not images else f"without a label ({' or '.join(LABELS)})"] += 1
        return None
    if len(images) > 1:
        notes.without["beside the first image of their sample"] += len(images) - 1
    text = _label(*labels[0])
    if text is None:
        notes.without[f"whose {labels[0][0]} is not read as a label"] += 1
        return None
    assert notes.labels is not None
    notes.labels.check_numbers({text})
    label = notes.labels.of(text, source)
    return None if label is None else RawFace(f"{source}{images[0][0]}", label, "", images[0][1])


def _label(ending: str, content: bytes | Exception) -> str | None:
    if isinstance(content, Exception) or len(content) > LABEL_BYTES:
        return None
    text = content.decode("utf-8-sig", "replace")
    if ending == ".cls":
        return text.strip() or None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = next((found[field] for field in FIELDS if field in found), None) if isinstance(found, dict) else found
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else None


def _key(name: PurePosixPath) -> str:
    """Return what the files of a sample share: the path up to the first dot of its last part."""
    return str(name.parent / name.name.partition(".")[0])


def _kind(name: PurePosixPath) -> str:
    """Return the last ending, in lower case: `.png` of 000001.left.png."""
    return name.suffix.lower()
