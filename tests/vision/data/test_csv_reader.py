import tarfile
import zipfile
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


def write_csv(path: Path, header: str, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def test_an_unknown_usage_stops_the_run_until_it_is_said(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    path = write_csv(tmp_path / "faces.csv", "emotion,pixels,Usage", f"3,{PIXELS},Training", f"3,{PIXELS},Holdback")

    with pytest.raises(UserError, match=r"line 3: the Usage 'Holdback' is not a split.*\{'Holdback': test\}"):
        list(open_dataset(dataset_settings(path), 0).faces)
    faces = list(open_dataset(dataset_settings(path, splits={"holdback": "test"}), 0).faces)
    assert [face.split for face in faces] == ["train", "test"]


def test_an_empty_usage_beside_others_stops_the_run_until_it_is_said(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    path = write_csv(tmp_path / "faces.csv", "emotion,pixels,Usage", f"3,{PIXELS},", f"3,{PIXELS},Training")

    with pytest.raises(UserError, match=r"line 2: the Usage is empty, but line 3 names a split; .*\{'': train\}"):
        list(open_dataset(dataset_settings(path), 0).faces)
    faces = list(open_dataset(dataset_settings(path, splits={"": "test"}), 0).faces)
    assert [face.split for face in faces] == ["test", "train"]


def test_what_a_csv_said_of_splits_and_codes_is_told(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    rows = [f"3,{PIXELS},Training", f"7,{PIXELS},PrivateTest", f"4,{PIXELS},PrivateTest"]
    path = write_csv(tmp_path / "faces.csv", "emotion,pixels,Usage", *rows)

    facts = ingest_faces(dataset_settings(path), seed=0).reading

    assert facts["codes"] == "of FER2013 (0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral)"
    assert (facts["train faces"], facts["test faces"]) == ("1 from Usage Training", "2 from Usage PrivateTest")
    assert facts["unknown labels"].startswith("'7' (1)")


FERPLUS = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.fixture
def ferplus(tmp_path: Path) -> Path:
    """Return a folder with FER2013 and FER+ beside it: happy, angry, a tie, unknown, not a face, sad."""
    votes = ["0,8,2,0,0,0,0,0,0,0", "0,0,0,0,9,1,0,0,0,0", "5,5,0,0,0,0,0,0,0,0", "0,0,0,0,0,0,0,2,8,0",
             "0,0,0,0,0,0,0,0,0,10", "1,0,0,9,0,0,0,0,0,0"]  # fmt: skip
    usages = ["Training", "Training", "Training", "PublicTest", "PublicTest", "PrivateTest"]
    write_csv(tmp_path / "set" / "fer2013.csv", "emotion,pixels,Usage", *(f"6,{PIXELS},{usage}" for usage in usages))
    rows = [f"{usage},fer{n:07d}.png,{votes[n]}" for n, usage in enumerate(usages)]
    write_csv(tmp_path / "set" / "fer2013new.csv", FERPLUS, *rows)
    return tmp_path / "set"


@pytest.mark.parametrize("form", ["folder", "votes", "zip"])
def test_ferplus_beside_fer2013_gives_its_labels(
    form: str, ferplus: Path, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in ferplus.iterdir():
            archive.write(file, f"fer/{file.name}")
    path = {"folder": ferplus, "votes": ferplus / "fer2013new.csv", "zip": tmp_path / "set.zip"}[form]

    reading = open_dataset(dataset_settings(path), 0)

    assert [(face.label, face.split) for face in reading.faces] == [
        ("happy", "train"), ("angry", "train"), ("sad", "test"),
    ]  # fmt: skip
    facts = reading.notes.facts()
    assert facts["layout"] == "of FER+"
    assert facts["faces left out"].startswith(
        "3 (1 with a tie of the votes of FER+, 1 whose emotion FER+ calls unknown"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("cut", r"fer2013new\.csv has fewer rows than the table beside it"),
        ("usage", r"another Usage than in .*fer2013\.csv, line 2"),
        ("votes", r"fer2013new\.csv, line 2: the votes of FER\+ are not whole numbers"),
    ],
)
def test_votes_that_do_not_fit_the_faces_are_refused(
    change: str, said: str, ferplus: Path, dataset_settings: Callable[..., Any]
) -> None:
    lines = (ferplus / "fer2013new.csv").read_text(encoding="utf-8").splitlines()
    changed = {
        "cut": lines[:-1],
        "usage": [lines[0], lines[1].replace("Training", "PublicTest"), *lines[2:]],
        "votes": [lines[0], lines[1].replace(",8,", ",x,"), *lines[2:]],
    }
    (ferplus / "fer2013new.csv").write_text("\n".join(changed[change]), encoding="utf-8")

    with pytest.raises(UserError, match=said):
        list(open_dataset(dataset_settings(ferplus), 0).faces)


@pytest.mark.parametrize("name", ["set.zip", "fer2013.tar.gz", "plain.tar", "fer2013"])
def test_a_csv_in_an_archive_is_read(name: str, tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    rows = [f"{code},{PIXELS},Training" for code in (3, 4)]
    source = write_csv(tmp_path / "source" / "fer2013.csv", "emotion,pixels,Usage", *rows)
    (tmp_path / "source" / "README").write_text("a text", encoding="utf-8")
    path = tmp_path / "packed" / name
    path.parent.mkdir()
    if name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(source, "fer2013/fer2013.csv")
    else:
        with tarfile.open(path, "w" if name.endswith(".tar") else "w:gz") as archive:
            archive.add(source.parent, "fer2013")

    faces = list(open_dataset(dataset_settings(path), 0).faces)

    assert [(face.label, face.split, face.payload) for face in faces] == [
        ("happy", "train", PIXELS), ("sad", "train", PIXELS),
    ]  # fmt: skip


def test_two_csvs_of_faces_in_an_archive_must_be_chosen_from(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("train.csv", "icml_face_data.csv"):
            archive.writestr(name, f"emotion,pixels\n3,{PIXELS}\n")

    with pytest.raises(
        UserError, match=r"needs one CSV with emotion and pixels, found train\.csv, icml_face_data\.csv"
    ):
        open_dataset(dataset_settings(tmp_path / "set.zip"), 0)


def test_a_csv_in_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("faces.csv", "emotion,pixels\n" + f"3,{PIXELS}\n" * 1000)

    with pytest.raises(UserError, match=r"more than dataset\.max_unpacked_bytes 1000000"):
        list(open_dataset(dataset_settings(tmp_path / "set.zip", max_unpacked_bytes=1_000_000), 0).faces)


def test_a_damaged_csv_in_an_archive_is_refused(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("faces.csv", "emotion,pixels\n" + f"3,{PIXELS}\n" * 10)
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[5000] ^= 255
    (tmp_path / "set.zip").write_bytes(content)

    with pytest.raises(UserError, match=r"set\.zip: faces\.csv is damaged: Bad CRC"):
        list(open_dataset(dataset_settings(tmp_path / "set.zip"), 0).faces)


@pytest.mark.parametrize("column", ["split", "Set", "subset", "partition"])
def test_a_split_in_a_column_of_another_name_is_kept(
    column: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    path = write_csv(tmp_path / "faces.csv", f"emotion,pixels,{column}", f"3,{PIXELS},Training", f"4,{PIXELS},test")

    reading = open_dataset(dataset_settings(path), 0)

    assert [(face.label, face.split) for face in reading.faces] == [("happy", "train"), ("sad", "test")]
    assert reading.notes.facts()["test faces"] == f"1 from {column.capitalize()} test"


@pytest.mark.parametrize(
    ("delimiter", "encoding", "end"),
    [(";", "utf-8", "\n"), ("\t", "utf-8-sig", "\r\n"), (",", "utf-8", "\n\n")],
)
def test_what_spreadsheets_of_other_languages_write_is_read(
    delimiter: str, encoding: str, end: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    rows = (("emotion", "pixels", "Usage"), ("3", PIXELS, "Training"), ("4", PIXELS, "PrivateTest"))
    text = "".join(delimiter.join(row) + end for row in rows)
    (tmp_path / "faces.csv").write_bytes(text.encode(encoding))

    faces = list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)

    assert [(face.label, face.split, face.payload) for face in faces] == [
        ("happy", "train", PIXELS), ("sad", "test", PIXELS),
    ]  # fmt: skip


def test_a_csv_in_utf_16_says_how_to_save_it(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "faces.csv").write_bytes(f"emotion,pixels\n3,{PIXELS}\n".encode("utf-16"))

    with pytest.raises(UserError, match="seems to be UTF-16, so save it as UTF-8"):
        open_dataset(dataset_settings(tmp_path / "faces.csv"), 0)
