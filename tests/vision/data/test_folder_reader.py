from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from vision.data.readers import open_dataset


def test_a_path_to_the_split_folder_itself_keeps_its_split(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "train" / "happy", 1)

    (face,) = open_dataset(dataset_settings(tmp_path / "train"), 0).faces

    assert (face.label, face.split) == ("happy", "train")


def test_class_folders_without_images_are_refused(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "happy").mkdir()

    with pytest.raises(UserError, match="holds no images"):
        open_dataset(dataset_settings(tmp_path), 0)


def test_linked_folders_are_read_and_circles_end(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "elsewhere" / "happy", 2)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "set")

    faces = list(open_dataset(dataset_settings(tmp_path / "set"), 0).faces)

    assert [(face.source, face.split) for face in faces] == [
        ("train/happy/face0.png", "train"),
        ("train/happy/face1.png", "train"),
    ]
