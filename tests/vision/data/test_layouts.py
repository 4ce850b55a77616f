"""Each data set's layout, imitated with drawn faces: what it is called there becomes the right class and split."""

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from tests.vision.data.layout_files import array, face
from tests.vision.data.test_image_reader import write_set
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.readers import open_dataset

FORMS = pytest.mark.parametrize("form", ["set", "set.zip", "set.tar.gz"])
RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")


@pytest.fixture
def ingested(tmp_path: Path, dataset_settings: Callable[..., Any]) -> Callable[..., FaceSet]:
    """Return a function that writes files in a form and ingests them."""

    def ingest(form: str, files: dict[str, bytes], **changes: Any) -> FaceSet:
        return ingest_faces(dataset_settings(write_set(tmp_path / form, files), **changes), seed=0)

    return ingest


def found(faces: FaceSet) -> dict[str, tuple[str, str]]:
    table = faces.table
    assert faces.decodable.all()
    return {
        s.rpartition("/")[2]: (x, y) for s, x, y in zip(table["source"], table["label"], table["split"], strict=True)
    }


@FORMS
def test_rafdb_in_numbered_folders(form: str, ingested: Callable[..., FaceSet]) -> None:
    files = {
        f"DATASET/{split}/{code}/{split}_{code:05d}_aligned.jpg": face(code, "JPEG")
        for split in ("train", "test")
        for code in range(1, 8)
    }

    faces = ingested(form, files)

    expected = {
        f"{split}_{code:05d}_aligned.jpg": (RAFDB[code - 1], split)
        for split in ("train", "test")
        for code in range(1, 8)
    }
    assert found(faces) == expected
    assert faces.reading["layout"] == "of RAF-DB"
    assert faces.reading["codes"].startswith("of RAF-DB (1 surprise, 2 fear")
    assert faces.reading["test faces"] == "7 from file names test_*"


@FORMS
def test_rafdb_with_its_list_of_labels(form: str, ingested: Callable[..., FaceSet]) -> None:
    names = [(f"{split}_{code:05d}", code) for split in ("train", "test") for code in range(1, 8)]
    files = {f"basic/Image/aligned/{name}_aligned.jpg": face(code, "JPEG") for name, code in names}
    files |= {f"basic/Image/original/{name}.jpg": face(code, "JPEG", 64) for name, code in names}
    files |= {"basic/Image/aligned/train_09999_aligned.jpg": face(9, "JPEG")}
    files["basic/EmoLabel/list_patition_label.txt"] = "".join(f"{name}.jpg {code}\n" for name, code in names).encode()

    faces = ingested(form, files)

    assert found(faces) == {f"{name}_aligned.jpg": (RAFDB[code - 1], name.partition("_")[0]) for name, code in names}
    reason = "14 the photo of a face that is there as aligned, 1 not in list_patition_label.txt"
    assert faces.reading["faces left out"] == f"15 ({reason})"


@FORMS
def test_ck_plus_48_in_folders_of_its_words(form: str, ingested: Callable[..., FaceSet]) -> None:
    words = {"anger": "angry", "contempt": "", "disgust": "disgust", "fear": "fear", "happy": "happy", "sadness": "sad"}
    files = {f"CK+48/{word}/S010_00{n}_00000017.png": face(n) for n, word in enumerate(words)}

    faces = ingested(form, files, codes={"contempt": None})

    assert sorted(label for label, _ in found(faces).values()) == ["angry", "disgust", "fear", "happy", "sad"]
    assert faces.reading["labels"] == "anger read as angry (1), sadness read as sad (1)"
    assert faces.reading["left out by dataset.codes"] == "contempt (1)"


@FORMS
def test_jaffe_by_its_file_names(form: str, ingested: Callable[..., FaceSet]) -> None:
    emotions = {
        "AN": "angry",
        "DI": "disgust",
        "FE": "fear",
        "HA": "happy",
        "NE": "neutral",
        "SA": "sad",
        "SU": "surprise",
    }
    files = {f"jaffe/KA.{letters}1.{n}.tiff": face(n, "TIFF") for n, letters in enumerate(emotions)}
    files["jaffe/README"] = b"a text"

    faces = ingested(form, files)

    assert found(faces) == {
        f"KA.{letters}1.{n}.tiff": (name, "unassigned") for n, (letters, name) in enumerate(emotions.items())
    }
    assert faces.reading["layout"] == "of JAFFE"


@FORMS
def test_kdef_straight_views_by_its_file_names(form: str, ingested: Callable[..., FaceSet]) -> None:
    emotions = {
        "AF": "fear",
        "AN": "angry",
        "DI": "disgust",
        "HA": "happy",
        "NE": "neutral",
        "SA": "sad",
        "SU": "surprise",
    }
    files = {
        f"KDEF/AF01/AF01{letters}{angle}.JPG": face(n, "JPEG")
        for n, letters in enumerate(emotions)
        for angle in ("FL", "HL", "S", "HR", "FR")
    }

    faces = ingested(form, files)

    assert found(faces) == {f"AF01{letters}S.JPG": (name, "unassigned") for letters, name in emotions.items()}
    assert faces.reading["faces left out"].startswith("28 (7 full left profile")


@FORMS
def test_affectnet_with_its_annotations(form: str, ingested: Callable[..., FaceSet]) -> None:
    names = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")
    files = {}
    for split in ("train_set", "val_set"):
        for code in range(9):
            files[f"{split}/images/{code}.jpg"] = face(code, "JPEG")
            files[f"{split}/annotations/{code}_exp.npy"] = array(np.array(str(code)) if code % 2 else np.array(code))
            files[f"{split}/annotations/{code}_lnd.npy"] = array(np.zeros(136))
    files["train_set/images/77.jpg"] = face(77, "JPEG")
    files["train_set/annotations/77_exp.npy"] = array(np.array([{"a": 1}], dtype=object))  # which takes a pickle

    faces = ingested(form, files, codes={"7": None})

    table = faces.table
    labels = {split: list(table["label"][table["split"] == split]) for split in ("train", "validation")}
    assert {split: sorted(found) for split, found in labels.items()} == dict.fromkeys(labels, sorted(names))
    assert faces.reading["faces left out"] == "3 (2 labelled as none, 1 without a readable annotation _exp.npy)"
    assert faces.reading["train faces"] == "7 from folder train_set"


@FORMS
def test_expw_faces_are_cut_out_by_their_boxes(form: str, ingested: Callable[..., FaceSet]) -> None:
    photo = np.full((80, 120), 30, dtype=np.uint8)
    photo[10:50, 20:60], photo[30:70, 70:110] = 100, 200
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    boxes = b"a.png 0 10 20 60 50 30.5 3\na.png 1 30 70 110 70 40.1 6\n"
    files = {"ExpW/origin/a.png": buffer.getvalue(), "ExpW/origin/b.png": face(1), "ExpW/label/label.lst": boxes}

    faces = ingested(form, files)

    assert found(faces) == {"a.png#0": ("happy", "unassigned"), "a.png#1": ("neutral", "unassigned")}
    assert [image.mean() for image in faces.images] == [100, 200]
    assert faces.table["width"].tolist() == [40, 40]
    assert faces.reading["faces left out"] == "1 (1 not in label.lst)"


def test_numbered_folders_of_an_unknown_set_are_asked_for_before_anything_is_decoded(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    root = write_set(tmp_path / "set", {f"train/{code}/image{code}.png": b"not decoded" for code in range(8)})

    with pytest.raises(UserError, match=r"the labels are numbers \(0, 1, 2, 3, 4, 5, 6, 7\), .*affectnet \(0 neutral"):
        open_dataset(dataset_settings(root), 0)
    reading = open_dataset(dataset_settings(root, codes="affectnet", class_names=(*RAFDB, "contempt")), 0)
    assert [face.label for face in reading.faces] == [
        "neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt",
    ]  # fmt: skip


def test_folders_named_after_emotions_say_more_than_file_names(ingested: Callable[..., FaceSet]) -> None:
    faces = ingested(
        "set", {"train/happy/train_00001_aligned.jpg": face(1, "JPEG"), "test/sad/KA.AN1.39.tiff": face(2)}
    )

    assert [*found(faces).values()] == [("sad", "test"), ("happy", "train")]


def test_splits_of_other_spellings_stay_what_they_are(ingested: Callable[..., FaceSet]) -> None:
    counts = {"train_afew": 4, "val_afew": 2, "test": 1}
    files = {f"set/{f}/Happy/{n}.png": face(10 * len(f) + n) for f, count in counts.items() for n in range(count)}

    faces = ingested("set", files)

    assert Counter(faces.table["split"]) == {"train": 4, "validation": 2, "test": 1}
    assert faces.reading["validation faces"] == "2 from folder val_afew"


def test_split_folders_below_the_class_folders_are_splits(ingested: Callable[..., FaceSet]) -> None:
    folders = ("happy/train", "happy/test", "sad/train", "sad/test")

    faces = ingested("set", {f"{folder}/{n}.png": face(n) for n, folder in enumerate(folders)})

    assert sorted(found(faces).values()) == [("happy", "test"), ("happy", "train"), ("sad", "test"), ("sad", "train")]


def test_the_folder_of_one_split_of_a_known_layout_keeps_its_split(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    files = {"images/1.jpg": face(1, "JPEG"), "annotations/1_exp.npy": array(np.array("1"))}

    (read,) = open_dataset(dataset_settings(write_set(tmp_path / "val_set", files)), 0).faces

    assert (read.label, read.split) == ("happy", "validation")


@pytest.mark.parametrize(
    ("layout", "names", "stray"),
    [
        ("RAF-DB", [f"DATASET/train/{1 + n % 7}/train_{n:05d}_aligned.jpg" for n in range(20)], "train/1/a (1).jpg"),
        ("JAFFE", [f"jaffe/KA.AN1.{n}.tiff" for n in range(20)], "jaffe/sample.png"),
        ("KDEF", [f"KDEF/AF{n:02d}/AF{n:02d}HAS.JPG" for n in range(20)], "KDEF/AM31/AM31H.JPG"),
    ],
)
def test_a_stray_picture_does_not_hide_a_layout(
    layout: str, names: list[str], stray: str, ingested: Callable[..., FaceSet]
) -> None:
    faces = ingested("set", {name: face(number) for number, name in enumerate([*names, stray])})

    assert len(faces) == 20
    assert faces.reading["layout"] == f"of {layout}"
    assert faces.reading["faces left out"] == f"1 (1 whose names are not {layout}'s)"


def test_a_split_folder_below_a_numbered_class_is_the_split(ingested: Callable[..., FaceSet]) -> None:
    files = {f"{code}/{split}/{split}{code}.png": face(code) for code in (3, 4) for split in ("train", "test")}

    faces = ingested("set", files, codes="fer2013")

    assert found(faces) == {
        f"{split}{code}.png": (name, split) for code, name in ((3, "happy"), (4, "sad")) for split in ("train", "test")
    }
