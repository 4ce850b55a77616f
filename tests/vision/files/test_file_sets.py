from pathlib import Path

import pytest

from configs.errors import UserError
from vision.files.archives import Limits
from vision.files.file_sets import FILES_AN_IMAGE, open_files

LIMITS = Limits(3, 1000, 1000, "dataset", "raise dataset.max_images if that is right")


def fill(folder: Path, count: int, ending: str) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}{ending}").write_bytes(b"")


def test_a_folder_of_as_many_files_as_allowed_is_listed_whole(tmp_path: Path) -> None:
    fill(tmp_path, 3, ".png")
    fill(tmp_path, FILES_AN_IMAGE * 3, ".txt")

    files = open_files(tmp_path, LIMITS)

    assert (len(files.images), len(files.others)) == (3, FILES_AN_IMAGE * 3)


def test_a_folder_of_more_images_than_allowed_is_not_cut_off_though_few_of_them_may_be_used(tmp_path: Path) -> None:
    fill(tmp_path, 4, ".png")

    with pytest.raises(UserError, match=r"holds more than 3 images; raise dataset\.max_images"):
        open_files(tmp_path, LIMITS)


def test_a_folder_of_too_many_other_files_is_not_cut_off(tmp_path: Path) -> None:
    fill(tmp_path, FILES_AN_IMAGE * 3 + 1, ".txt")

    with pytest.raises(UserError, match=r"holds more than 30 files that are not images; raise dataset\.max_images"):
        open_files(tmp_path, LIMITS)


def test_hidden_files_do_not_end_the_list_of_a_folder(tmp_path: Path) -> None:
    for number in range(FILES_AN_IMAGE * 3 + 1):
        (tmp_path / f".{number}").write_bytes(b"")  # listed before the folder below
    fill(tmp_path / "happy", 2, ".png")

    assert list(open_files(tmp_path, LIMITS).images) == ["happy/0.png", "happy/1.png"]
