from pathlib import Path, PurePosixPath

import pytest

from configs.errors import UserError
from vision.data.layouts import Placed, class_folder
from vision.data.split_names import SplitNames, check_split_folders

PLAIN = SplitNames({})


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("train_set", "train"), ("train_afew", "train"),
        ("trainset", "train"),        ("Training Set", "train"), ("FER2013Train", "train"),
        ("myTrainFaces", "train"), ("train2", "train"),
        ("val_set", "validation"), ("val_afew", "validation"), ("valid", "validation"), ("dev", "validation"),
        ("devel", "validation"), ("PublicTest", "validation"), ("public_test", "validation"),
        ("validation", "validation"),
        ("test-set", "test"), ("eval", "test"), ("holdout", "test"), ("hold-out", "test"), ("PrivateTest", "test"),
        ("privatetest", "test"), ("TEST", "test"),
        ("latest", ""), ("contest", ""), ("trainers", ""), ("devices", ""), ("happy", ""), ("images", ""),
        ("train_test_split", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_split_is_a_word_within_a_name(name: str, split: str) -> None:
    assert PLAIN.of(name) == split


def test_what_the_settings_say_goes_first() -> None:
    names = SplitNames({"Holdback": "test", "eval": "validation", "train_old": None})

    assert [names.of(name) for name in ("holdback", "EVAL", "train_old")] == ["test", "validation", ""]


def test_two_names_that_are_the_same_in_lower_case_are_refused() -> None:
    with pytest.raises(UserError, match=r"dataset\.splits has 'part' and 'Part', which are the same name; keep one"):
        SplitNames({"part": "train", "Part": "test"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/happy/a.png", ("happy", "train")),
        ("images/images/Training/happy/a.png", ("happy", "train")),
        ("val/Sad/a.png", ("Sad", "validation")),
        ("x/valid/sad/a.png", ("sad", "validation")),
        ("TEST/fear/a.png", ("fear", "test")),
        ("train_afew/aligned/happy/a.png", ("happy", "train")),
        ("happy/a.png", ("happy", "")),
        ("a.png", ("", "")),
        ("train/a.png", ("train", "")),
        ("happy/train/a.png", ("happy", "train")),
        ("images/train/a.png", ("train", "")),
    ],
)
def test_label_is_the_folder_and_split_the_nearest_folder_that_names_one(path: str, expected: tuple[str, str]) -> None:
    placed = class_folder(path, PLAIN, Placed())

    assert (placed.label, placed.split) == expected


def test_the_folder_above_names_a_split_only_by_its_whole_name() -> None:
    assert [PLAIN.of_all(name) for name in ("train_set", "my_test_faces", "my_set")] == ["train", "", ""]


def folders(*paths: str) -> set[tuple[str, ...]]:
    return {PurePosixPath(path).parts for path in paths}


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (("train/happy", "train/sad", "holdback/happy"), '"{holdback: test}"'),
        (("train/happy", "part two/happy"), "\"{'part two': test}\""),
        (("images/val/happy", "images/rest/deep/happy"), '"{rest: test}"'),
        (("one/happy", "one/sad", "two/sad", "two/happy"), '"{one: test, two: test}"'),
    ],
)
def test_folders_that_look_like_splits_are_asked_for(paths: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=r"like (a split|splits), and it is not known which") as raised:
        check_split_folders(folders(*paths), PLAIN, Path("set"))

    assert f"--dataset.splits {named}" in str(raised.value)


@pytest.mark.parametrize(
    "paths",
    [
        ("happy", "sad"),
        ("train/happy", "val/happy"),
        ("images/train/happy", "images/images/train/happy"),
        ("train/happy", "sad"),
        ("faces/happy", "faces/sad"),
        tuple(f"person{number}/{name}" for number in range(9) for name in ("happy", "sad")),
        ("happy/one", "happy/two", "sad/three"),
    ],
)
def test_other_folders_are_not_taken_for_splits(paths: tuple[str, ...]) -> None:
    check_split_folders(folders(*paths), PLAIN, Path("set"))


def test_what_the_settings_say_is_not_asked_for_again() -> None:
    said = SplitNames({"holdback": "test", "one": None, "two": None})

    check_split_folders(folders("train/happy", "holdback/happy"), said, Path("set"))
    check_split_folders(folders("one/happy", "one/sad", "two/happy", "two/sad"), said, Path("set"))
