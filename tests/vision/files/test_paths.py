import os
from pathlib import Path, PurePosixPath

import pytest

from vision.files.image_kinds import is_image
from vision.files.paths import is_hidden, printable, read_file, walk


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("happy/a.png", True),
        ("happy/a.JPEG", True),
        ("../happy/a.tif", True),
        ("happy/a.txt", False),
        ("happy/.a.png", False),
        (".hidden/a.png", False),
        ("__MACOSX/happy/a.png", False),
    ],
)
def test_images_are_known_by_their_suffix_and_are_not_hidden(name: str, expected: bool) -> None:
    path = PurePosixPath(name)

    assert (is_image(path, bytes) and not is_hidden(path)) is expected


def test_a_name_is_shown_on_one_line() -> None:
    assert printable("gl\u00fcck \u5e78.png") == "gl\u00fcck \u5e78.png"
    assert printable("a\n\x1b\udce9.png") == r"a\n\x1b\udce9.png"


def test_folders_are_walked_through_links_but_only_once(tmp_path: Path) -> None:
    (tmp_path / "root" / "below").mkdir(parents=True)
    (tmp_path / "root" / "below" / "a").write_bytes(b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").write_bytes(b"")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "root")

    found = sorted(path.relative_to(tmp_path / "root").as_posix() for path in walk(tmp_path / "root"))

    assert found == ["below/a", "linked/b"]


@pytest.mark.parametrize("links", [{"latest": "train"}, {"a": "z/train", "z/b": "train"}, {"zz": "train", "a": "zz"}])
def test_a_folder_that_a_link_leads_to_as_well_is_read_once_under_its_own_name(
    links: dict[str, str], tmp_path: Path
) -> None:
    for name in ("train", "z/train"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a").write_bytes(b"")
    for link, target in links.items():
        (tmp_path / link).symlink_to(tmp_path / target)

    assert [path.relative_to(tmp_path).as_posix() for path in walk(tmp_path)] == ["train/a", "z/train/a"]


def test_a_folder_that_is_missing_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk(tmp_path / "missing"))


def test_a_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert read_file(tmp_path / "a", 3) == b"abc"
    assert str(read_file(tmp_path / "a", 2, "inference")) == "3 bytes, more than inference.max_file_bytes 2"


def test_what_cannot_be_read_is_returned_as_the_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert str(read_file(tmp_path / "pipe", 100)) == "not a regular file"
    assert isinstance(read_file(tmp_path / "missing", 100), FileNotFoundError)
    assert isinstance(read_file(tmp_path / "null\0character", 100), ValueError)
