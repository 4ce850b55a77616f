from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from tests.vision.data.layout_files import array, face, header_only
from tests.vision.data.test_image_reader import write_set
from vision.data.ingestion import ingest_faces
from vision.data.readers import open_dataset

FORMS = pytest.mark.parametrize("form", ["set", "set.zip", "set.tar.gz"])


@pytest.mark.parametrize(
    "annotation",
    [b"", b"a text", header_only((10**12,), "<f8"), header_only((), "<U1000000000"), header_only((), "<i8"),
     array(np.array([1, 2])), array(np.array(-1)), array(np.array("x")), array(np.array(None)),
     array(np.array(1))[:-1]],
)  # fmt: skip
def test_an_annotation_that_is_not_one_number_takes_no_memory_and_is_counted(
    annotation: bytes, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    files = {"images/1.jpg": face(1, "JPEG"), "annotations/1_exp.npy": annotation}

    with pytest.raises(UserError, match=r"none of its images is used; faces left out: 1 \(1 without a readable annot"):
        open_dataset(dataset_settings(write_set(tmp_path / "set", files)), 0)


def test_a_split_that_is_not_known_stops_the_run_until_it_is_said(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    root = write_set(tmp_path / "set", {"train/happy/a.png": face(1), "holdback/happy/b.png": face(2)})

    with pytest.raises(UserError, match=r'holdback looks like a split.*--dataset\.splits "\{holdback: test\}"'):
        open_dataset(dataset_settings(root), 0)
    reading = open_dataset(dataset_settings(root, splits={"holdback": "test"}), 0)
    assert {face.split for face in reading.faces} == {"train", "test"}


@FORMS
def test_images_outside_of_class_folders_are_refused(
    form: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    path = write_set(tmp_path / form, {"a.png": face(1), "train/b.png": face(2)})

    with pytest.raises(UserError, match=r"holds 2 files \(2 \.png; .*not in class folders; put each emotion's images"):
        open_dataset(dataset_settings(path), 0)


def test_a_list_that_is_not_expws_is_refused_by_its_line(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    root = write_set(tmp_path / "set", {"origin/a.png": face(1), "label.lst": b"a.png 0 1 1 x 9 9 3\n"})

    with pytest.raises(UserError, match=r"label\.lst, line 1 is not a line of ExpW: 'a\.png 0 1 1 x"):
        open_dataset(dataset_settings(root), 0)


def test_a_box_outside_of_its_image_is_a_row_with_the_reason(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    root = write_set(tmp_path / "set", {"origin/a.png": face(1), "label.lst": b"a.png 0 90 90 99 99 9.0 3\n"})

    table = ingest_faces(dataset_settings(root), seed=0).table

    assert table["error"].tolist() == ["ValueError: the box (90, 90, 99, 99) is outside of the 32x32 image"]


def test_an_emotion_that_is_not_a_class_is_refused_before_anything_is_decoded(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    root = write_set(tmp_path / "CK+48", {"contempt/1.png": face(1), "happy/2.png": face(2)})

    with pytest.raises(UserError, match=r"contempt \(1\) is an emotion that .* lacks; .*\{contempt: null\}"):
        open_dataset(dataset_settings(root), 0)
