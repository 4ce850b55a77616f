import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import UserError
from materializers.face_set_materializer import FaceSetMaterializer
from vision.data.csv_reader import ROW_CHARACTERS
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.readers import open_dataset
from vision.data.relabelling import read_verdicts
from vision.evaluation.label_audit import write_table
from vision.inference.result_table import write_csv, write_part

PIXELS = " ".join(["7"] * 1024)
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1"]
FIVE_GIGABYTES = 5_000_000_000
Settings = Callable[..., Any]


def test_lines_of_five_gigabytes_are_refused_unread(tmp_path: Path, read_confined: Callable[..., list[Any]]) -> None:
    starts = {"header": "emotion,pixels,", "row": f"emotion,pixels\n3,{PIXELS}\n3,", "quotes": 'emotion,pixels\n3,"'}
    paths = [tmp_path / f"{name}.csv" for name in starts]
    for path, start in zip(paths, starts.values(), strict=True):
        path.write_text(start)
        with path.open("rb+") as file:
            file.truncate(FIVE_GIGABYTES)  # zeros, which take no place on the disk

    said = read_confined(*paths, megabytes=100)

    refusal = f"a row of more than {ROW_CHARACTERS} characters"
    assert said[0].endswith(f"header.csv, line 1: {refusal}; expected emotion,pixels,Usage")
    assert said[1].endswith(f"row.csv, line 2: {refusal}")
    assert said[2].endswith(f"quotes.csv, line 1: {refusal}")


def test_a_row_of_endless_cells_on_short_lines_is_refused(tmp_path: Path, dataset_settings: Settings) -> None:
    (tmp_path / "faces.csv").write_text('emotion,pixels\n3,"' + '\n","' * (ROW_CHARACTERS // 3))

    with pytest.raises(UserError, match=f"a row of more than {ROW_CHARACTERS} characters"):
        list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)


def test_more_rows_than_allowed_are_refused_on_the_way(tmp_path: Path, dataset_settings: Settings) -> None:
    (tmp_path / "faces.csv").write_text("emotion,pixels\n" + f"3,{PIXELS}\n" * 4)
    faces = open_dataset(dataset_settings(tmp_path / "faces.csv", max_images=3), 0).faces

    assert len([next(faces) for _ in range(3)]) == 3
    with pytest.raises(UserError, match=r"holds more than 3 images; raise dataset\.max_images"):
        next(faces)


@pytest.mark.parametrize(
    ("emotion", "pixels", "label", "error"),
    [
        ("3", PIXELS[:-2], "happy", "ValueError: 1023 pixel values do not make a square image"),
        ("3", PIXELS[:-1] + "nan", "happy", "ValueError: invalid literal"),
        ("3", PIXELS[:-1] + "-1", "happy", "ValueError: pixel values -1 to 7, allowed 0 to 255"),
        ("3", PIXELS[:-1] + "9" * 30, "happy", "OverflowError: "),
        ("3", "", "happy", "ValueError: 0 pixel values"),
        ("-1", PIXELS, "-1", ""),
        ("7", PIXELS, "7", ""),
        ("nan", PIXELS, "nan", ""),
        ("3.0", PIXELS, "happy", ""),
        ("=cmd|' /C calc'!A0", PIXELS, "=cmd|' /C calc'!A0", ""),
        ("\x1b[31m", PIXELS, "\\x1b[31m", ""),
        ("9" * 5000, PIXELS, "9" * 100, ""),
    ],
)
def test_a_wrong_row_of_a_csv_is_a_row_that_says_so(
    emotion: str, pixels: str, label: str, error: str, tmp_path: Path, dataset_settings: Settings
) -> None:
    (tmp_path / "faces.csv").write_text(f"emotion,pixels\n{emotion},{pixels}\n")

    faces = ingest_faces(dataset_settings(tmp_path / "faces.csv", workers=1), seed=0)

    (row,) = faces.table.to_dict("records")
    assert row["label"] == label
    assert row["error"].startswith(error)
    assert bool(row["error"]) == bool(error)
    assert faces.labels.tolist() == [3 if label == "happy" else -1]


def test_a_row_that_is_cut_short_has_an_empty_usage(tmp_path: Path, dataset_settings: Settings) -> None:
    (tmp_path / "faces.csv").write_text(f"emotion,pixels,Usage\n3,{PIXELS},Training\n4,{PIXELS}\n")

    with pytest.raises(UserError, match=r"line 3: the Usage is empty, but line 2 names a split"):
        list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)
    faces = list(open_dataset(dataset_settings(tmp_path / "faces.csv", splits={"": "test"}), 0).faces)
    assert [face.split for face in faces] == ["train", "test"]


def test_a_row_with_more_cells_than_columns_is_refused_unless_they_are_empty(
    tmp_path: Path, dataset_settings: Settings
) -> None:
    rows = f"3,{PIXELS},Training, ,\n4,{PIXELS},Training,Test\n"
    (tmp_path / "faces.csv").write_text(f"emotion,pixels,Usage\n{rows}")
    faces = open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces

    assert next(faces).split == "train"
    with pytest.raises(UserError, match=r"faces\.csv, line 3 has 4 cells, and the header 3; name the other columns"):
        next(faces)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0", "emotion,pixels\n3,1".encode("utf-16"), bytes(4000)])
def test_what_is_no_csv_is_refused(content: bytes, tmp_path: Path, dataset_settings: Settings) -> None:
    (tmp_path / "faces.csv").write_bytes(content)

    with pytest.raises(UserError, match="has no column emotion and pixels"):
        open_dataset(dataset_settings(tmp_path / "faces.csv"), 0)


def test_no_cell_of_the_predictions_is_a_formula(tmp_path: Path) -> None:
    rows = [{"source": name, "face": -1, "emotion": "", "most_likely": "", "error": "x"} for name in FORMULAS]
    write_part(tmp_path / "part.parquet", rows, ["happy"])

    write_csv(tmp_path / "part.parquet", tmp_path / "predictions.csv")

    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        written = [row["source"] for row in csv.DictReader(file)]
    assert written == [f"'{name}" for name in FORMULAS]


def test_no_cell_of_the_counts_that_zenml_shows_is_a_formula(drawn: FaceSet, tmp_path: Path) -> None:
    faces = drawn.take(np.arange(4))
    faces = replace(faces, table=faces.table.assign(label=FORMULAS[:4]))

    FaceSetMaterializer(str(tmp_path)).save_visualizations(faces)

    cells = pd.read_csv(tmp_path / "counts.csv", header=None).to_numpy().ravel().astype(str)
    assert {f"'{name}" for name in FORMULAS[:4]} <= {*cells}
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@")]


def test_no_file_in_the_table_of_doubtful_labels_is_a_formula_and_its_name_comes_back(tmp_path: Path) -> None:
    names = ["=cmd|' /C calc'!A0.png", "+1.png", "'quoted.png", "plain.png"]
    table = pd.DataFrame({"file": names, "given": "sad", "doubtful": "yes", "action": "keep", "label": "sad"})
    path = tmp_path / "doubtful_labels.csv"

    path.write_text(write_table(table), encoding="utf-8")

    cells = [line.partition(",")[0].strip('"') for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert not [cell for cell in cells if cell.startswith(("=", "+"))]
    assert list(read_verdicts(path, ("sad",))) == names
