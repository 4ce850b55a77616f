from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from configs.errors import UserError
from vision.data.ingestion import ingest_faces
from vision.data.readers import open_dataset

PIXELS = " ".join(["7"] * 1024)


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_both_forms_of_the_kaggle_csv_are_read(
    header: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    cells = {"emotion": "3", "pixels": PIXELS, "Usage": "PublicTest"}
    row = ",".join(cells[name.strip()] for name in header.split(","))
    (tmp_path / "faces.csv").write_text(f"{header}\n{row}\n")

    (face,) = open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces

    assert (face.label, face.split, face.payload) == ("happy", "validation", PIXELS)


def test_a_csv_code_that_is_no_class_stays_as_it_is(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "faces.csv").write_text(f"emotion,pixels\n-1,{PIXELS}\n9,{PIXELS}\n")

    faces = list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)

    assert [face.label for face in faces] == ["-1", "9"]


def test_an_open_quote_in_a_csv_is_refused_before_it_swallows_rows(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    rows = "".join(f"{n % 7},{PIXELS},Training\n" for n in range(4))
    (tmp_path / "faces.csv").write_text(f'emotion,pixels,Usage\n{rows}3,"{PIXELS},Training\n{rows}')

    with pytest.raises(UserError, match=r"faces\.csv, line \d+: unexpected end of data"):
        list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)


def test_a_csv_that_a_spreadsheet_saved_is_read(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "faces.csv").write_text(f"emotion,pixels\n4,{PIXELS}\n", encoding="utf-8-sig")

    (face,) = open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces

    assert face.label == "sad"


def test_a_csv_gives_the_same_labels_as_class_folders_with_the_same_pixels(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    codes = {"angry": 0, "disgust": 1, "fear": 2, "happy": 3, "sad": 4, "surprise": 5, "neutral": 6}
    lines = ["emotion,pixels,Usage"]
    for name, code in codes.items():
        write_faces(tmp_path / "set" / "train" / name, 2)
        for path in sorted((tmp_path / "set" / "train" / name).iterdir()):
            grey_levels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            lines.append(f"{code},{' '.join(map(str, grey_levels.ravel()))},Training")
    (tmp_path / "faces.csv").write_text("\n".join(lines))

    tables = [
        ingest_faces(dataset_settings(tmp_path / name), 0).table[["exact_hash", "label", "split"]]
        for name in ("set", "faces.csv")
    ]

    as_folders, as_csv = (sorted(table.itertuples(index=False, name=None)) for table in tables)
    assert len(as_folders) == 14
    assert as_csv == as_folders


def test_the_order_of_class_names_does_not_change_what_a_code_means(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    (tmp_path / "faces.csv").write_text(f"emotion,pixels\n6,{PIXELS}\n")
    names = ("surprise", "sad", "neutral", "happy", "fear", "disgust", "angry")

    (face,) = open_dataset(dataset_settings(tmp_path / "faces.csv", class_names=names), 0).faces

    assert face.label == "neutral"


def test_a_code_whose_emotion_is_not_a_class_stops_the_run(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    (tmp_path / "faces.csv").write_text(f"emotion,pixels\n1,{PIXELS}\n")
    reading = open_dataset(dataset_settings(tmp_path / "faces.csv", class_names=("happy", "sad")), 0)

    with pytest.raises(UserError, match=r"line 2: the code 1 is FER2013's disgust, .*class_names \['happy', 'sad'\]"):
        list(reading.faces)


@pytest.mark.parametrize("header", ['emotion,pixels,"U"sage', 'emotion,pixels,"Usage'])
def test_wrong_quotes_in_a_header_are_named(header: str, tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "faces.csv").write_text(f"{header}\n3,{PIXELS},Training\n", encoding="utf-8")

    with pytest.raises(UserError, match=r"faces\.csv, line \d"):
        list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)
