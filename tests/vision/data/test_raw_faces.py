from pathlib import PurePosixPath

import pytest

from vision.data.raw_faces import label_and_split


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/happy/a.png", ("happy", "train")),
        ("images/images/Training/happy/a.png", ("happy", "train")),
        ("val/Sad/a.png", ("Sad", "validation")),
        ("x/valid/sad/a.png", ("sad", "validation")),
        ("TEST/fear/a.png", ("fear", "test")),
        ("happy/a.png", ("happy", "unassigned")),
        ("a.png", ("", "unassigned")),
        ("train/a.png", ("train", "unassigned")),
    ],
)
def test_label_is_the_folder_and_split_the_nearest_folder_that_names_one(path: str, expected: tuple[str, str]) -> None:
    assert label_and_split(PurePosixPath(path)) == expected
