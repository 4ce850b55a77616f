import zipfile
from pathlib import Path

import pytest

from benchmarks.named_split import make_split
from configs.errors import UserError

FILES = ["images/train/happy/a.png", "images/train/sad/b.png", "images/validation/happy/c.png", "images/readme.txt"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as faces:
        for file in FILES:
            faces.writestr(file, file)
    return tmp_path / "faces.zip"


def names(folder: Path, text: str) -> Path:
    (folder / "names.txt").write_text(text)
    return folder / "names.txt"


def test_named_training_images_become_validation_in_a_folder_that_was_not_there(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "faces.zip"

    line = make_split([str(archive), str(names(tmp_path, "b.png\n")), str(target)])

    assert line.endswith("1 train, 1 validation, 1 test")
    with zipfile.ZipFile(target) as named:
        found = {file: named.read(file).decode() for file in named.namelist()}
    assert found == {
        "images/train/happy/a.png": FILES[0],
        "images/validation/sad/b.png": FILES[1],
        "images/test/happy/c.png": FILES[2],
    }


def test_a_name_that_the_archive_lacks_is_named_and_nothing_is_written(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.zip"

    with pytest.raises(UserError, match=r"faces\.zip lacks 1 training images of the list, such as c\.png"):
        make_split([str(archive), str(names(tmp_path, "a.png c.png")), str(target)])

    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give three files"),
        (["names.txt", "names.txt", "out.zip"], "is not a zip file"),
        (["faces.zip", "none.txt", "out.zip"], "none.txt does not exist"),
        (["faces.zip", "names.txt", "names.txt/out.zip"], "cannot be written"),
    ],
)
def test_a_mistake_gets_one_sentence(archive: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    names(tmp_path, "a.png")

    with pytest.raises(UserError, match=sentence):
        make_split([str(archive.parent / word) for word in words])
