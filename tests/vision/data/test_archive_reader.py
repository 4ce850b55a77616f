import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from vision.data.readers import open_dataset


def zip_folder(folder: Path, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_folder_zip_and_tar_give_the_same_faces(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    root = tmp_path / "set"
    write_faces(root / "train" / "happy", 3)
    write_faces(root / "validation" / "sad", 2, suffix=".JPG")
    (root / "train" / "happy" / "notes.txt").write_text("not an image")
    (root / "__MACOSX" / "train" / "happy").mkdir(parents=True)
    (root / "__MACOSX" / "train" / "happy" / "._face0.png").write_bytes(b"left over")
    packed = zip_folder(root, tmp_path / "set.zip")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(root, arcname="")

    read = [
        sorted((f.source, f.label, f.split, f.payload) for f in open_dataset(dataset_settings(path), 0).faces)
        for path in (root, packed, tmp_path / "set.tar.gz")
    ]

    assert len(read[0]) == 5
    assert read[0] == read[1] == read[2]


def test_a_zip_that_was_cut_in_half_is_refused(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "set" / "happy", 20)
    whole = zip_folder(tmp_path / "set", tmp_path / "whole.zip").read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UserError, match=r"half\.zip is not a readable zip"):
        open_dataset(dataset_settings(tmp_path / "half.zip"), 0)


def test_a_tar_that_was_cut_in_half_is_refused(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as archive:
        archive.add(write_faces(tmp_path / "set" / "happy", 40), arcname="happy")
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UserError, match=r"half\.tar\.gz is a damaged archive"):
        list(open_dataset(dataset_settings(tmp_path / "half.tar.gz"), 0).faces)


@pytest.mark.parametrize("damage", ["header", "missing end"])
def test_a_tar_that_reads_like_its_end_in_the_middle_is_refused(
    damage: str, tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(write_faces(tmp_path / "set" / "happy", 10), arcname="happy")
    with tarfile.open(path) as archive:
        middle = archive.getmembers()[5].offset
    content = path.read_bytes()
    wrong = {"header": content[:middle] + b"\xff" * 512 + content[middle + 512 :], "missing end": content[:middle]}
    path.write_bytes(wrong[damage])

    with pytest.raises(UserError, match=r"set\.tar is a damaged archive: it breaks off in the middle"):
        list(open_dataset(dataset_settings(path), 0).faces)


def test_windows_separators_in_a_zip_are_folders(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("train\\happy\\a.png", b"")

    (face,) = open_dataset(dataset_settings(tmp_path / "set.zip"), 0).faces

    assert (face.label, face.split) == ("happy", "train")


def test_an_archive_with_a_password_is_refused_in_one_sentence(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("happy/1.png", b"\x89PNG")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag that says "encrypted"
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"set\.zip is encrypted; unpack it with its password"):
        open_dataset(dataset_settings(path), 0)


def test_pictures_of_the_same_name_in_two_archives_have_names_of_their_own(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    folder = write_faces(tmp_path / "set" / "happy", 1).parent
    (tmp_path / "both").mkdir()
    for name in ("train.zip", "valid.zip"):
        zip_folder(folder, tmp_path / "both" / name)

    paths = (tmp_path / "both", tmp_path / "both" / "train.zip")
    both, one = (open_dataset(dataset_settings(path), 0).faces for path in paths)

    assert [face.source for face in both] == ["train.zip/happy/face0.png", "valid.zip/happy/face0.png"]
    assert [face.source for face in one] == ["happy/face0.png"]  # as tables that users have name it
