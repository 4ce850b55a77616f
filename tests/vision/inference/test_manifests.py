import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from tests.vision.inference.toy_jobs import MODEL, TOY, inference_settings, run_job, table_of
from vision.inference import manifests
from vision.inference.inputs import open_pictures
from vision.inference.job import job_folder, predict_pictures
from vision.inference.manifests import read_place, read_row, write_manifest
from vision.inference.pictures import Pictures


def manifest(path: Path, group_rows: int = 3, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group_rows)
    return path


def opened(path: Path, **changes: Any) -> Pictures:
    return open_pictures(inference_settings(path, path.parent / "out", **changes))


def test_rows_are_read_from_any_position_across_row_groups(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.parquet", bytes=[bytes([number]) for number in range(10)])
    pictures = opened(path)

    assert (pictures.form, pictures.count) == ("manifest", 10)
    for start, stop in [(0, 10), (0, 1), (2, 4), (3, 6), (5, 9), (9, 10)]:
        assert [picture.payload for picture in pictures.read(start, stop)] == [bytes([n]) for n in range(start, stop)]


def test_a_manifest_of_paths_gives_the_table_of_its_folder(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 5)
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    places = [str(root / name) for name in names]
    path = manifest(tmp_path / "m.parquet", uri=[places[0], f"file://{places[1]}", *places[2:]], source=names)

    tables = [
        table_of(run_job(inference_settings(given, tmp_path / f"of-{number}"))[1])
        for number, given in enumerate((root, path))
    ]

    assert len(names) == 5
    assert tables[0].equals(tables[1])


def test_relative_paths_of_a_manifest_are_full_ones_for_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    path = manifest(tmp_path / "m.parquet", uri=["a.png", None, "/faces/b.png", "s3://bucket/c.png"])
    monkeypatch.chdir(tmp_path)

    pictures = opened(path)

    assert pictures.places is not None
    places = [*pictures.places(0, 4)]
    assert [place for _, place in places] == [f"{tmp_path}/a.png", "", "/faces/b.png", "s3://bucket/c.png"]
    assert places[0][0] == "a.png"


def test_a_row_without_a_picture_says_why(tmp_path: Path) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"a picture")
    said = {
        None: "names no picture",
        f"{tmp_path}/gone.png": "No such file",
        f"file://{tmp_path}/gone.png": "No such file",
        f"{tmp_path}/null\0character.png": "null byte",
    }
    path = manifest(tmp_path / "m.parquet", uri=[*said, str(there)])

    *payloads, last = [picture.payload for picture in opened(path).read(0, len(said) + 1)]

    assert last == b"a picture"
    assert all(isinstance(payload, Exception) for payload in payloads)
    assert all(text in str(payload) for text, payload in zip(said.values(), payloads, strict=True))


def test_a_manifest_whose_pictures_are_all_missing_is_refused_before_work(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.parquet", uri=[None, *(f"{tmp_path}/disk/{n}.png" for n in range(4))])

    with pytest.raises(UserError, match=r"no row of 5 names a picture that can be read, such as .*/disk/0\.png"):
        opened(path)


def test_a_disk_that_goes_away_ends_the_job_which_is_whole_when_it_is_back(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    disk = write_faces(tmp_path / "disk", 3)
    path = manifest(tmp_path / "m.parquet", uri=sorted(str(file) for file in disk.rglob("*.png")))
    settings = inference_settings(path, tmp_path / "out")
    pictures = open_pictures(settings)
    folder = job_folder(settings, pictures, MODEL)
    disk.rename(tmp_path / "unplugged")

    with pytest.raises(UserError, match=r"disk/.* was there before and has gone"):
        predict_pictures(TOY, MODEL, pictures, settings, folder)

    (tmp_path / "unplugged").rename(disk)
    report, again = run_job(settings)
    assert (again, report.pictures, report.unreadable) == (folder, 3, 0)


def test_a_picture_that_changed_behind_its_path_is_another_job(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b c.png")]
    for file in files:
        file.write_bytes(b"a picture")
    uris = [str(files[0]), files[1].as_uri(), None, "null\0character", f"{tmp_path}/gone.png", "s3://bucket/c.png"]
    path = manifest(tmp_path / "m.parquet", uri=uris)
    found = [opened(path).fingerprint, opened(path).fingerprint]

    for file in files:
        file.write_bytes(b"another picture")
        found.append(opened(path).fingerprint)

    assert found[0] == found[1]
    assert len({*found}) == 3


def test_bytes_above_the_limit_are_not_kept(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.parquet", bytes=[b"x" * 1024, b"x" * 1025])

    first, second = opened(path, max_file_bytes=1024).read(0, 2)

    assert first.payload == b"x" * 1024
    assert "inference.max_file_bytes 1024" in str(second.payload)


@pytest.mark.parametrize(
    ("columns", "named"),
    [({"picture": [b"x"]}, "has picture"), ({"uri": [1]}, r"uri \(int64\)"), ({"bytes": ["x"]}, r"bytes \(string\)"),
     ({"uri": pa.array([], pa.string())}, "without rows")],
)  # fmt: skip
def test_a_table_that_is_not_a_manifest_is_refused(tmp_path: Path, columns: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        opened(manifest(tmp_path / "m.parquet", **columns))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    path.write_bytes(b"PAR1 and then nothing of the kind")

    with pytest.raises(UserError, match="not a readable Parquet file"):
        opened(path)


def test_a_damaged_page_behind_a_whole_footer_is_a_sentence(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.parquet", bytes=[bytes([number]) * 50 for number in range(9)])
    place = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 20] = b"\xff" * 20
    path.write_bytes(content)
    pictures = opened(path)

    assert len([*pictures.read(0, 6)]) == 6
    with pytest.raises(UserError, match=r"m\.parquet cannot be read from row 6 on: .*; is it complete"):
        [*pictures.read(6, 9)]


def test_a_text_that_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    wrong = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff.png"]).buffers())
    path = manifest(tmp_path / "m.parquet", uri=wrong)

    with pytest.raises(UserError, match=r"m\.parquet cannot be read from row 0 on"):
        opened(path)


def test_a_store_that_does_not_answer_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: str) -> None:
        raise OSError("no answer within 3 s")

    monkeypatch.setattr(manifests, "_file_system", fail)

    with pytest.raises(UserError, match=r"s3://bucket/face\.png cannot be read: no answer within 3 s; run again"):
        read_place("s3://bucket/face.png", 1000)


def test_a_name_in_a_store_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_file_system", lambda store: (pa_fs.LocalFileSystem(), f"{tmp_path}/{store[5:]}"))
    names = ["a.png", "a.png#2", "a.png?3", "a%20b.png", "a b.png"]
    (tmp_path / "bucket" / "deep").mkdir(parents=True)
    for name in names:
        (tmp_path / "bucket" / "deep" / name).write_text(name)

    assert [read_place(f"s3://bucket/deep/{name}", 1000) for name in names] == [name.encode() for name in names]


def test_a_file_uri_is_decoded_as_pathlib_writes_it(tmp_path: Path) -> None:
    names = ["a b.png", "a#2.png", "a?3.png", "100%25.png", "été.png", os.fsdecode(b"caf\xe9.png")]
    for name in names:
        (tmp_path / name).write_bytes(os.fsencode(name))

    assert [read_place((tmp_path / name).as_uri(), 1000) for name in names] == [os.fsencode(name) for name in names]
    assert read_place(f"file://localhost{tmp_path}/a%20b.png", 1000) == b"a b.png"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://example.com/face.png", "http:// is not a store"),
        ("nosuchscheme://bucket/face.png", "nosuchscheme:// is not a store"),
        ("s3://", "bucket"),
        ("file://server/share/face.png", "file:// is not a store"),
    ],
)
def test_an_address_that_is_wrong_is_a_row_with_its_reason(place: str, said: str) -> None:
    payload = read_place(place, 1000)

    assert isinstance(payload, ValueError)
    assert said in str(payload)


def test_a_manifest_of_web_addresses_alone_is_refused_before_work(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.parquet", uri=["http://example.com/a.png", "https://example.com/b.png"])

    with pytest.raises(UserError, match=r"no row of 2 names .*, such as http://example\.com/a\.png; give paths"):
        opened(path)


def test_a_job_manifest_has_a_place_of_a_file_and_the_bytes_of_what_lies_in_none(
    tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    root = write_faces(tmp_path / "faces", 2)
    files = sorted(root.rglob("*.png"))
    held = manifest(tmp_path / "m.parquet", bytes=[files[0].read_bytes(), b"x" * 5000], source=["a", "b"])
    system = pa_fs.LocalFileSystem()

    for name, given in (("places", root), ("bytes", held)):
        write_manifest(opened(given, max_file_bytes=4000), str(tmp_path / name), system)

    places, contents = (pq.read_table(tmp_path / name).to_pylist() for name in ("places", "bytes"))
    assert [(row["position"], row["uri"], row["bytes"]) for row in places] == [(n, str(files[n]), None) for n in (0, 1)]
    assert contents[0]["bytes"] == files[0].read_bytes()
    assert "max_file_bytes" in contents[1]["reason"]
    assert [read_row(row, 4000).payload for row in places] == [file.read_bytes() for file in files]
    assert isinstance(read_row(contents[1], 4000).payload, ValueError)
