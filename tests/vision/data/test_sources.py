import gzip
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from vision.data.readers import open_dataset
from vision.data.sources import find_dataset

ROW = f"emotion,pixels,Usage\n3,{' '.join(['7'] * 1024)},Training\n"


def zip_faces(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("name", ["fer2013", "fer2013.txt", "set.dat"])
@pytest.mark.parametrize("kind", ["csv", "zip", "tar", "tar.gz"])
def test_a_data_set_is_known_by_its_content(
    name: str, kind: str, tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    faces = write_faces(tmp_path / "source" / "happy", 2).parent
    path = tmp_path / "data" / name
    path.parent.mkdir()
    if kind == "csv":
        path.write_text(ROW)
    elif kind == "zip":
        zip_faces(path, faces)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(faces, "set")

    found = ("csv" if kind == "csv" else "archive", path)
    assert find_dataset(path) == find_dataset(path.parent) == found


@pytest.mark.parametrize("name", [".gitkeep", "README.md", "readme", "LICENSE.txt", ".DS_Store"])
def test_a_folder_with_nothing_but_a_readme_is_empty(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a text")

    assert find_dataset(tmp_path) is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("labels.txt", "faces.7z"), r"found 2 files \(1 \.7z, 1 \.txt; for example faces\.7z, labels\.txt\)"),
        (("fer2013.parquet",), r"found 1 file \(1 \.parquet"),
    ],
)
def test_what_is_not_recognised_is_named_and_not_called_nothing(
    names: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"\0whatever this is")

    with pytest.raises(UserError, match=said):
        find_dataset(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.heic", "a"])
def test_loose_images_are_a_folder_of_images(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")

    assert find_dataset(tmp_path) == ("folder", tmp_path)


def test_a_list_of_labels_beside_class_folders_is_not_a_data_set_of_its_own(
    tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    write_faces(tmp_path / "happy", 1)
    (tmp_path / "labels.csv").write_text("file,label\na.png,happy\n")

    assert find_dataset(tmp_path) == ("folder", tmp_path)


def test_a_csv_of_faces_beside_class_folders_must_be_chosen(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    write_faces(tmp_path / "happy", 1)
    (tmp_path / "fer2013.csv").write_text(ROW)

    with pytest.raises(UserError, match=r"more than one data set \(happy, fer2013\.csv\)"):
        find_dataset(tmp_path)


def test_a_loose_image_beside_an_archive_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")

    with pytest.raises(UserError, match=r"more than one data set \(faces\.zip, a\.png\)"):
        find_dataset(tmp_path)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.zip", "validation.zip"), {"train": 3, "validation": 2}),
        (("fer_train.zip", "fer_test.tar"), {"train": 3, "test": 2}),
        (("fer.train.zip", "fer.test.tar"), {"train": 3, "test": 2}),
        (("part1.zip", "part2.zip"), {"train": 3, "test": 2}),
    ],
)
def test_archives_that_are_named_after_splits_are_one_data_set(
    names: tuple[str, str],
    splits: dict[str, int],
    tmp_path: Path,
    write_faces: Callable[..., Path],
    dataset_settings: Callable[..., Any],
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    zip_faces(root / names[0], write_faces(tmp_path / "one" / "happy", 3).parent)
    if names[1].endswith(".zip"):
        zip_faces(root / names[1], write_faces(tmp_path / "two" / "anger", 2).parent)
    else:
        with tarfile.open(root / names[1], "w") as archive:
            archive.add(write_faces(tmp_path / "two" / "anger", 2), "anger")
    said = {"part1": "train", "part2": "test"} if names[0] == "part1.zip" else {}

    reading = open_dataset(dataset_settings(root, splits=said), 0)

    faces = list(reading.faces)
    assert (reading.form, reading.count, len(faces)) == ("archive", 5, 5)
    assert Counter(face.split for face in faces) == splits
    assert {face.label for face in faces} == {"happy", "angry"}
    facts = reading.notes.facts()
    assert facts["labels"] == "anger read as angry (2)"
    assert facts["train faces"] == f"3 from {names[0]}"


@pytest.mark.parametrize("names", [("a.zip", "b.zip"), ("train.zip", "train_2.zip"), ("train.zip", "more.zip")])
def test_other_archives_side_by_side_must_be_chosen_from(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(UserError, match="more than one data set"):
        find_dataset(tmp_path)


def test_a_packed_text_is_not_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(gzip.compress(b"a text"))

    with pytest.raises(UserError, match="holds no data set that is recognised; found 1 file"):
        find_dataset(tmp_path)


def test_folders_of_data_sets_side_by_side_are_not_mixed(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    for name in ("fer", "raf"):
        for split in ("train", "test"):
            write_faces(tmp_path / "both" / name / split / "happy", 1)

    with pytest.raises(UserError, match=r"both holds more than one data set \(fer, raf\).*--dataset\.splits"):
        find_dataset(tmp_path / "both")
    assert find_dataset(tmp_path / "both", {"raf": "test"}) == ("folder", tmp_path / "both")
    assert find_dataset(tmp_path / "both" / "fer") == ("folder", tmp_path / "both" / "fer")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("above", ["", "both/deeper/"])
def test_data_sets_side_by_side_are_refused_wherever_they_lie_until_they_are_said_to_be_one(
    above: str, packed: bool, tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    for place in ("fer/train", "fer/test", "my raf/basic/test"):
        write_faces(tmp_path / "sets" / f"{above}{place}" / "happy", 1)
    path = zip_faces(tmp_path / "sets.zip", tmp_path / "sets") if packed else tmp_path / "sets"

    with pytest.raises(UserError, match=rf"more than one data set \({above}fer, {above}my raf/basic\)") as said:
        open_dataset(dataset_settings(path), 0)

    assert '--dataset.splits "{basic: null, fer: null}"' in str(said.value)
    faces = open_dataset(dataset_settings(path, splits={"basic": None, "fer": None}), 0).faces
    assert Counter(face.split for face in faces) == {"test": 2, "train": 1}


@pytest.mark.parametrize("copy", ["images", "train/more", "happy"])
def test_a_folder_within_a_data_set_is_not_another(copy: str, tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    for place in ("images/train", f"images/{copy}/test"):
        write_faces(tmp_path / place / "happy", 1)

    assert find_dataset(tmp_path) == ("folder", tmp_path)  # as Kaggle's images/images beside images


def test_classes_that_hold_their_splits_are_one_data_set(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    for name in ("happy", "4"):
        write_faces(tmp_path / "set" / name / "train", 1)

    assert find_dataset(tmp_path / "set") == ("folder", tmp_path / "set")


@pytest.mark.parametrize("name", ["set.7z", "set.tar.xz", "set.rar"])
def test_an_archive_that_is_not_read_is_to_be_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something packed")

    for path in (tmp_path, tmp_path / name):
        with pytest.raises(UserError, match="unpack it first"):
            find_dataset(path)
