import io
import os
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from configs.errors import UserError
from vision.data.ingestion import ingest_faces
from vision.data.readers import find_dataset, label_and_split, open_dataset, source_fingerprint

PIXELS = " ".join(["7"] * 1024)


def zip_folder(folder: Path, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("train/happy/a.png", ("happy", "train")),
        ("images/images/Training/happy/a.png", ("happy", "train")),
        ("val/Sad/a.png", ("Sad", "validation")),
        ("x/valid/sad/a.png", ("sad", "validation")),
        ("TEST/fear/a.png", ("fear", "test")),
        ("happy/a.png", ("happy", "unassigned")),
        ("a.png", ("", "unassigned")),
        ("train/a.png", ("train", "unassigned")),
    ],
)
def test_label_is_the_folder_and_split_the_nearest_folder_that_names_one(path: str, expected: tuple[str, str]) -> None:
    assert label_and_split(PurePosixPath(path)) == expected


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


def test_a_path_to_the_split_folder_itself_keeps_its_split(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "train" / "happy", 1)

    (face,) = open_dataset(dataset_settings(tmp_path / "train"), 0).faces

    assert (face.label, face.split) == ("happy", "train")


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


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing", None, "does not exist"),
        ("half.zip", b"PK\x03\x04 and then nothing", "no readable zip or tar file"),
        ("half.tar.gz", b"\x1f\x8b\x08\x00 and then nothing", "no readable zip or tar file"),
        ("faces.parquet", b"PAR1", "is a file of unknown kind"),
        ("faces.csv", b"a,b\n1,2\n", "has no column emotion and pixels"),
        ("faces.csv", b"", "found ''"),
        ("faces.csv", b"\x1b[31m\x07\n", r"found '\\x1b\[31m\\x07'"),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_path(
    name: str, content: bytes | None, said: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(UserError, match=said) as raised:
        list(open_dataset(dataset_settings(tmp_path / name), 0).faces)

    assert str(tmp_path / name) in str(raised.value)


def test_an_empty_folder_is_refused(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="holds no data set; expected class folders"):
        open_dataset(dataset_settings(tmp_path), 0)


def test_class_folders_without_images_are_refused(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "happy").mkdir()

    with pytest.raises(UserError, match="holds no images"):
        open_dataset(dataset_settings(tmp_path), 0)


def test_a_zip_that_was_cut_in_half_is_refused(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "set" / "happy", 20)
    whole = zip_folder(tmp_path / "set", tmp_path / "whole.zip").read_bytes()
    (tmp_path / "half.zip").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UserError, match=r"half\.zip is no readable zip"):
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


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_an_error_of_its_own_face_only(
    compression: int, tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "set" / "happy", 3)
    path = zip_folder(tmp_path / "set", tmp_path / "set.zip", compression)
    content = bytearray(path.read_bytes())
    content[100:140] = b"\xff" * 40  # inside the first member
    path.write_bytes(bytes(content))

    faces = list(open_dataset(dataset_settings(path), 0).faces)

    assert [isinstance(face.payload, Exception) for face in faces] == [True, False, False]


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


def test_windows_separators_in_a_zip_are_folders(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("train\\happy\\a.png", b"")

    (face,) = open_dataset(dataset_settings(tmp_path / "set.zip"), 0).faces

    assert (face.label, face.split) == ("happy", "train")


def test_a_member_larger_than_allowed_is_not_read(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("happy/bomb.png", b"\x00" * 2_000_000)

    (face,) = open_dataset(dataset_settings(tmp_path / "set.zip", max_file_bytes=1_000_000), 0).faces

    assert "2000000 bytes, more than dataset.max_file_bytes 1000000" in str(face.payload)


def test_a_folder_with_one_archive_is_that_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("happy/a.png", b"")

    assert find_dataset(tmp_path) == ("archive", tmp_path / "faces.zip")


def test_two_data_sets_side_by_side_must_be_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "b.csv").write_bytes(b"")

    with pytest.raises(UserError, match=r"more than one data set \(a\.zip, b\.csv\); choose one with --dataset\.path"):
        find_dataset(tmp_path)


def test_a_folder_with_nothing_but_hidden_files_holds_no_data_set(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").write_bytes(b"")

    assert find_dataset(tmp_path) is None


def test_kaggle_without_its_package_says_what_to_install(
    tmp_path: Path, dataset_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)

    with pytest.raises(UserError, match="pip install kagglehub"):
        open_dataset(dataset_settings(tmp_path, reader="kaggle"), 0)


def test_what_kagglehub_downloads_is_read_under_its_name(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    dataset_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_faces(tmp_path / "versions" / "1" / "train" / "happy", 1)
    hub = SimpleNamespace(dataset_download=lambda name: str(tmp_path / "versions" / "1"))
    monkeypatch.setitem(sys.modules, "kagglehub", hub)

    reading = open_dataset(dataset_settings(tmp_path, reader="kaggle", kaggle_name="someone/faces"), 0)

    assert reading.name == "someone/faces"
    assert [(face.label, face.split) for face in reading.faces] == [("happy", "train")]


def test_a_failed_download_names_the_data_set_and_the_way_out(
    tmp_path: Path, dataset_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=fail))

    with pytest.raises(UserError, match=r"kaggle_name someone/faces: no route to host; .*--dataset\.path"):
        open_dataset(dataset_settings(tmp_path, reader="kaggle", kaggle_name="someone/faces"), 0)


def test_the_fingerprint_of_a_source_changes_with_its_files(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "happy", 2)
    before = source_fingerprint(dataset_settings(tmp_path))
    unchanged = source_fingerprint(dataset_settings(tmp_path))

    write_faces(tmp_path / "happy", 3)

    assert before == unchanged
    assert source_fingerprint(dataset_settings(tmp_path)) != before


def test_the_fingerprint_of_kaggles_data_set_changes_with_its_version(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    dataset_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = dataset_settings(tmp_path, reader="kaggle", kaggle_name="someone/faces")
    found = []
    for version in ("1", "1", "2"):
        write_faces(tmp_path / version / "happy", int(version))
        hub = SimpleNamespace(dataset_download=lambda name, version=version: str(tmp_path / version))
        monkeypatch.setitem(sys.modules, "kagglehub", hub)
        os.utime(tmp_path / version / "happy" / "face0.png", (0, 0))
        found.append(source_fingerprint(settings))

    assert found[0] == found[1] != found[2]


def test_a_link_to_nowhere_has_a_fingerprint_as_it_has_a_row(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "happy", 1)
    before = source_fingerprint(dataset_settings(tmp_path))
    (tmp_path / "happy" / "gone.png").symlink_to(tmp_path / "nowhere")

    assert source_fingerprint(dataset_settings(tmp_path)) != before
    assert len(list(open_dataset(dataset_settings(tmp_path), 0).faces)) == 2


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, dataset_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, onerror: Callable[[OSError], None], followlinks: bool) -> Any:
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "closed")))

    monkeypatch.setattr(os, "walk", fail)  # root may read everything

    with pytest.raises(UserError, match=r"dataset\.path .*closed cannot be read: Permission denied"):
        source_fingerprint(dataset_settings(tmp_path))


@pytest.mark.parametrize("header", ['emotion,pixels,"U"sage', 'emotion,pixels,"Usage'])
def test_wrong_quotes_in_a_header_are_named(header: str, tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "faces.csv").write_text(f"{header}\n3,{PIXELS},Training\n", encoding="utf-8")

    with pytest.raises(UserError, match=r"faces\.csv, line \d"):
        list(open_dataset(dataset_settings(tmp_path / "faces.csv"), 0).faces)


def test_an_encrypted_member_is_an_error_of_its_own_face(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("happy/a.png", b"secret")
    content = bytearray(buffer.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag that says "encrypted"
    (tmp_path / "set.zip").write_bytes(bytes(content))

    (face,) = open_dataset(dataset_settings(tmp_path / "set.zip"), 0).faces

    assert "encrypted" in str(face.payload)
