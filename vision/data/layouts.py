"""Layouts: how data sets lay out their files, and what that says about each image."""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np

from configs.errors import UserError
from vision.data.label_codes import class_named, is_class
from vision.data.raw_faces import Box
from vision.data.split_names import SplitNames
from vision.files.archives import member_path
from vision.files.file_sets import FileSet

RAFDB_FILE = re.compile(r"(train|test)_\d+(_aligned)?\.\w+")
RAFDB_LISTS = ("list_patition_label.txt", "list_partition_label.txt")  # the first is how it is spelled there
JAFFE_FILE = re.compile(r"[A-Z]{2}\.(AN|DI|FE|HA|NE|SA|SU)\d+\.\d+\.\w+")
KDEF_FILE = re.compile(r"[AB][FM]\d\d(AF|AN|DI|HA|NE|SA|SU)(FL|HL|S|HR|FR)\.\w+", re.IGNORECASE)
LETTERS = {
    "AF": "fear", "AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad",
    "SU": "surprise",
}  # fmt: skip
KDEF_ANGLES = {
    "FL": "full left profile",
    "HL": "half left profile",
    "HR": "half right profile",
    "FR": "full right profile",
}
NUMBER_BYTES = 64  # of a code in a .npy file
EXPW_COLUMNS = 8  # name, number of the face, top, left, right, bottom, confidence, label
FITTING_SHARE = 0.9  # of the images, by name
AFFECTNET_OTHERS = {"8": "none", "9": "uncertain", "10": "no face"}  # codes that are not of an emotion


@dataclass(frozen=True)
class Placed:
    """What a layout says of a face: its label as it stands there and its split, or why it is left out.

    `place` says where the split stands. Without a `box` the whole image is the face.
    """

    label: str = ""
    split: str = ""
    place: str = ""
    left_out: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class Layout:
    """A way to lay out files: its name, the table of its codes ("" for none), and what it says of an image's name."""

    name: str
    codes: str
    place: Callable[[str], Sequence[Placed]]


Recognised = Callable[[FileSet, SplitNames], Layout | None]
Fits = Callable[[PurePath], bool]


def class_folder(name: str, names: SplitNames, outer: Placed) -> Placed:
    """Return the folder that holds the image as its label, and the split of the nearest folder that names one.

    Without such a folder it is the split of `outer`. A split folder below an emotion's, as in `happy/train`, is the
    split.
    """
    *folders, label = class_last(member_path(name).parent.parts, names) or ("",)
    folder = next((folder for folder in reversed(folders) if names.of(folder)), "")
    return Placed(label, names.of(folder), f"folder {folder}") if folder else replace(outer, label=label)


def class_last(folders: tuple[str, ...], names: SplitNames) -> tuple[str, ...]:
    """Return the folders with the class as the last; below it there may be one that names a split."""
    if len(folders) > 1 and names.of(folders[-1]) and is_class(folders[-2]):
        return (*folders[:-2], folders[-1], folders[-2])
    return folders


def class_folders(names: SplitNames, outer: Placed) -> Layout:
    """Return the layout of class folders, below split folders or not; then they have the split of `outer`."""
    return Layout("class folders", "", lambda name: (class_folder(name, names, outer),))


def recognise_layout(files: FileSet, names: SplitNames, class_names: tuple[str, ...]) -> Layout | None:
    """Return the data set whose layout the files have, or None, which means class folders.

    Raises UserError where a list of labels cannot be read.
    """
    folders = {member_path(name).parent.name for name in files.images}
    if folders and all(class_named(folder, class_names) for folder in folders):
        return None  # folders that are named after emotions say more than any list
    found = (recognise(files, names) for recognise in LAYOUTS)
    return next((layout for layout in found if layout is not None), None)


def _most(files: FileSet, fits: Fits) -> bool:
    """Say whether nearly all images have such names; people and programs add a few of their own."""
    return sum(fits(member_path(name)) for name in files.images) >= FITTING_SHARE * len(files.images)


def _named_layout(
    title: str, codes: str, files: FileSet, fits: Fits, face: Callable[[PurePath], Placed]
) -> Layout | None:
    """Return the layout of names that say everything, if nearly all fit; the others are left out."""
    if not _most(files, fits):
        return None
    other = Placed(left_out=f"whose names are not {title}'s")

    def place(name: str) -> Sequence[Placed]:
        path = member_path(name)
        return (face(path) if fits(path) else other,)

    return Layout(title, codes, place)


def _is_rafdb(path: PurePath) -> bool:
    return RAFDB_FILE.fullmatch(path.name) is not None


def _rafdb_folders(files: FileSet, names: SplitNames) -> Layout | None:
    def fits(path: PurePath) -> bool:
        return _is_rafdb(path) and path.parent.name in tuple("1234567")

    return _named_layout("RAF-DB", "rafdb", files, fits, lambda path: _rafdb_face(path.name, path.parent.name))


def _rafdb_list(files: FileSet, names: SplitNames) -> Layout | None:
    lists = [name for name in files.others if member_path(name).name in RAFDB_LISTS]
    if not lists or not _most(files, _is_rafdb):
        return None
    labels = dict(line.split()[:2] for line in _lines(files, lists[0]) if len(line.split()) > 1)
    aligned = any("_aligned" in name for name in files.images)

    def place(name: str) -> Sequence[Placed]:
        file = member_path(name).name
        listed = file.replace("_aligned", "")
        if listed not in labels:
            return (Placed(left_out=f"not in {member_path(lists[0]).name}"),)
        if aligned and file == listed:
            return (Placed(left_out="the photo of a face that is there as aligned"),)
        return (_rafdb_face(file, labels[listed]),)

    return Layout("RAF-DB", "rafdb", place)


def _rafdb_face(file: str, code: str) -> Placed:
    split = file.partition("_")[0]
    return Placed(code, split, f"file names {split}_*")


def _jaffe(files: FileSet, names: SplitNames) -> Layout | None:
    def fits(path: PurePath) -> bool:
        return JAFFE_FILE.fullmatch(path.name) is not None

    return _named_layout("JAFFE", "", files, fits, lambda path: Placed(LETTERS[path.name[3:5]]))


def _kdef(files: FileSet, names: SplitNames) -> Layout | None:
    def fits(path: PurePath) -> bool:
        return KDEF_FILE.fullmatch(path.name) is not None

    def face(path: PurePath) -> Placed:
        file = path.name.upper()
        angle = file[6:].partition(".")[0]
        return Placed(left_out=KDEF_ANGLES[angle]) if angle in KDEF_ANGLES else Placed(LETTERS[file[4:6]])

    return _named_layout("KDEF", "", files, fits, face)  # its own AM31H.JPG does not fit


def _affectnet(files: FileSet, names: SplitNames) -> Layout | None:
    annotations = [name for name in files.others if name.endswith("_exp.npy")]
    if not annotations:
        return None
    codes = {member_path(name): _number_of(content) for name, content in files.read_others(annotations).items()}

    def place(name: str) -> Sequence[Placed]:
        path = member_path(name)
        code = codes.get(path.parent.parent / "annotations" / f"{path.stem}_exp.npy", "")
        if not code:
            return (Placed(left_out="without a readable annotation _exp.npy"),)
        if code in AFFECTNET_OTHERS:
            return (Placed(left_out=f"labelled as {AFFECTNET_OTHERS[code]}"),)
        split = next((folder for folder in reversed(path.parts[:-1]) if names.of(folder)), "")
        return (Placed(code, names.of(split), f"folder {split}"),) if split else (Placed(code),)

    return Layout("AffectNet", "affectnet", place)


def _number_of(content: bytes | Exception) -> str:
    """Return the single number in a .npy file as text, or "" where there is not one. Nothing in it is unpickled."""
    if isinstance(content, Exception):
        return ""
    file = io.BytesIO(content)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, kind = read_header[np.lib.format.read_magic(file)](file)
        # the header may claim any size, and memory would be taken for it
        if math.prod(shape) != 1 or kind.hasobject or kind.itemsize > NUMBER_BYTES:
            return ""
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, KeyError):  # it is counted as without a readable annotation
        return ""
    text = str(found.item()).removesuffix(".0").removesuffix(".")
    return text if text.isdecimal() else ""


def _expw(files: FileSet, names: SplitNames) -> Layout | None:
    lists = [name for name in files.others if member_path(name).name == "label.lst"]
    if not lists:
        return None
    faces: dict[str, list[Placed]] = {}
    for number, line in enumerate(_lines(files, lists[0]), start=1):
        values = line.split()
        if not values:
            continue
        if len(values) != EXPW_COLUMNS or not all(value.lstrip("-").isdecimal() for value in values[2:6]):
            raise UserError(f"dataset.path: {lists[0]}, line {number} is not a line of ExpW: {line[:60]!r}")
        top, left, right, bottom = (int(value) for value in values[2:6])
        faces.setdefault(values[0], []).append(Placed(values[7], box=(left, top, right, bottom)))

    def place(name: str) -> Sequence[Placed]:
        return faces.get(member_path(name).name) or (Placed(left_out="not in label.lst"),)

    return Layout("ExpW", "expw", place)


def _lines(files: FileSet, name: str) -> list[str]:
    content = files.read_others([name])[name]
    if isinstance(content, Exception):
        raise UserError(f"dataset.path: {name} in {files.name} cannot be read: {content}")
    return content.decode("utf-8-sig", "replace").splitlines()


LAYOUTS: tuple[Recognised, ...] = (_rafdb_list, _rafdb_folders, _jaffe, _kdef, _affectnet, _expw)
