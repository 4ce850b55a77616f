"""Image reader: the faces of a folder or an archive of images."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from configs.data_settings import DatasetSettings
from configs.errors import UserError
from vision.data.faces import UNASSIGNED
from vision.data.image_formats import NEEDS_HEIF, readable_formats
from vision.data.label_codes import Labels
from vision.data.layouts import Layout, Placed, class_folders, class_last, recognise_layout
from vision.data.raw_faces import EXPECTED, MORE_IMAGES, RawFace, Reading
from vision.data.reading_notes import PASSED_OVER, ReadingNotes
from vision.data.split_names import SplitNames, check_split_folders
from vision.files.archives import Limits, member_path
from vision.files.file_sets import FileSet, describe_files
from vision.files.image_kinds import has_several_pictures

HEIC_SUFFIXES = (".heic", ".heif")
NO_SPLIT = "no folder that names a split"
NOWHERE = Placed()


def limits_of(settings: DatasetSettings) -> Limits:
    """Return how much of a folder or an archive is read at most."""
    return Limits(settings.max_images, settings.max_file_bytes, settings.max_unpacked_bytes, "dataset", MORE_IMAGES)


def read_images(files: FileSet, settings: DatasetSettings, outer: Placed = NOWHERE) -> Reading:
    """Read a data set's own layout, or class folders: any folder above the class may name the split.

    `outer` has the split of what lies in no such folder.

    Raises UserError where there is nothing that can be read, and where splits or labels are not understood.
    """
    _check_readable(files, settings)
    names = SplitNames(settings.splits)
    layout = recognise_layout(files, names, settings.class_names)
    if layout is None:
        _check_folders(files, settings, names, bool(outer.split))
    labels = Labels(settings, layout.codes if layout else "")
    notes = ReadingNotes(labels, layout.name if layout else "", files.others)
    kept = _keep(_place(files.images, layout or class_folders(names, outer), outer, notes), labels)
    if not kept.faces:
        reasons = [f"{name}: {fact}" for name, fact in notes.facts().items() if name in PASSED_OVER]
        raise UserError(f"dataset.path {settings.path}: none of its images is used; {'; '.join(reasons)}")
    for face in kept.faces:
        notes.splits[face.split or UNASSIGNED, face.place if face.split else NO_SPLIT] += 1
    return Reading(files.name, files.form, len(kept.faces), _read(files, kept, notes), notes)


@dataclass(frozen=True)
class _Kept:
    """What is said of each face that is read, and the position of its image, ascending; few faces are said anew."""

    positions: "array[int]"
    faces: list[Placed]


def _keep(placed: Iterator[tuple[int, Placed]], labels: Labels) -> _Kept:
    """Return the faces whose labels are used, with the names of these. Raises UserError for labels that are not."""
    said: dict[Placed, Placed] = {}
    positions, faces = array("Q"), []
    for position, face in placed:
        positions.append(position)
        faces.append(said.setdefault(face, face))
    labels.check_numbers({face.label for face in said})
    found: dict[Placed, Placed | None] = {}
    kept = _Kept(array("Q"), [])
    for position, face in zip(positions, faces, strict=True):
        label = labels.of(face.label)  # it counts them
        if face not in found:
            found[face] = None if label is None else replace(face, label=label)
        if (named := found[face]) is not None:
            kept.positions.append(position)
            kept.faces.append(named)
    labels.check_emotions()
    return kept


def _place(images: Sequence[str], layout: Layout, outer: Placed, notes: ReadingNotes) -> Iterator[tuple[int, Placed]]:
    """Yield the position of each image with what is said of its faces; count those that are left out."""
    for position, name in enumerate(images):
        for face in layout.place(name):
            if face.left_out:
                notes.without[face.left_out] += 1
            else:
                yield position, face if face.split else replace(face, split=outer.split, place=outer.place)


def _read(files: FileSet, kept: _Kept, notes: ReadingNotes) -> Iterator[RawFace]:
    payloads = files.read(array("Q", (position for position, _ in groupby(kept.positions))))
    by_image = groupby(zip(kept.positions, kept.faces, strict=True), key=lambda one: one[0])
    for (position, placed), payload in zip(by_image, payloads, strict=True):
        faces = [face for _, face in placed]
        name = files.images[position]
        if isinstance(payload, bytes) and has_several_pictures(payload):
            notes.several.append(name)
        for number, face in enumerate(faces):
            source = name if len(faces) == 1 else f"{name}#{number}"
            yield RawFace(source, face.label, face.split or UNASSIGNED, payload, face.box)


def _check_readable(files: FileSet, settings: DatasetSettings) -> None:
    if not files.images:
        found = f"; found {describe_files(files.others)}" if files.others else ""
        raise UserError(f"dataset.path {settings.path} holds no images{found}; expected {EXPECTED}")
    if "HEIF" not in readable_formats() and all(name.lower().endswith(HEIC_SUFFIXES) for name in files.images):
        raise UserError(f"dataset.path {settings.path} holds {describe_files(files.images)}; {NEEDS_HEIF}")


def _check_folders(files: FileSet, settings: DatasetSettings, names: SplitNames, has_split: bool) -> None:
    folders = {class_last(member_path(name).parent.parts, names) for name in files.images}
    if all(not folder or names.of(folder[-1]) for folder in folders):
        raise UserError(
            f"dataset.path {settings.path} holds {describe_files(files.images)}, but not in class folders; "
            f"put each emotion's images into a folder of its name: expected {EXPECTED}"
        )
    if not has_split:
        check_split_folders({folder for folder in folders if folder}, names, settings.local_path)
