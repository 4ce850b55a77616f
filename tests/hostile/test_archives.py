import bz2
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from tests.hostile.archive_writers import (
    PNG,
    Endless,
    block,
    changed_directory,
    raw_tar,
    tar_member,
    write_tar,
    write_zip,
)
from vision.data.ingestion import ingest_faces
from vision.data.readers import open_dataset
from vision.files.archives import open_zip

LEADING_OUT = (
    "../evil.png", "/evil.png", "/tmp/../evil.png", "..\\evil.png", "C:\\evil\\evil.png", "a/../../../evil.png",
    "happy/..png/evil.png", "happy/good.png",
)  # fmt: skip
Settings = Callable[..., Any]


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_names_that_lead_out_of_the_folder_are_rows_and_no_files(
    form: str, tmp_path: Path, dataset_settings: Settings, only_file: Callable[[Path], None]
) -> None:
    path = tmp_path / "deep" / f"set.{form}"
    path.parent.mkdir()
    if form == "zip":
        write_zip(path, ((name, PNG) for name in LEADING_OUT))
    else:
        write_tar(path, ((tar_member(name, size=len(PNG)), PNG) for name in LEADING_OUT))

    table = ingest_faces(dataset_settings(path, workers=1), seed=0).table

    assert len(table) == len(LEADING_OUT) - 1  # a folder whose name starts with a point is hidden
    assert (table["error"] == "").all()
    assert table["label"].tolist()[-1] == "happy"
    only_file(path)


def test_a_link_in_a_zip_is_not_followed(tmp_path: Path, dataset_settings: Settings) -> None:
    member = zipfile.ZipInfo("happy/link.png")
    member.create_system, member.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")

    (row,) = ingest_faces(dataset_settings(tmp_path / "set.zip"), seed=0).table.to_dict("records")

    assert row["error"] == "ValueError: not an image: the file starts with b'/etc/pas'"


def test_a_million_members_are_refused_before_they_are_listed(
    tmp_path: Path, read_confined: Callable[..., list[Any]]
) -> None:
    one = write_zip(tmp_path / "one.zip", [("happy/a.png", b"")]).read_bytes()
    start, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    count = 1_000_000
    listed = one[start:end] * count
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(listed), start, 0)
    (tmp_path / "set.zip").write_bytes(one[:start] + listed + last)
    (tmp_path / "one.zip").unlink()

    (said,) = read_confined(tmp_path / "set.zip", megabytes=250)

    assert said.endswith("set.zip lists more than 500000 files; raise dataset.max_images if that is right")


def test_ten_gigabytes_in_ten_kilobytes_are_refused_unread(
    tmp_path: Path, read_confined: Callable[..., list[Any]]
) -> None:
    ten = 10_000_000_000
    bomb = raw_tar(tmp_path / "bomb.tar.gz", block("happy/a.png", tarfile.REGTYPE, ten), bytes(8_000_000))
    member = zipfile.ZipInfo("happy/a.png")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.writestr(member, zlib.compress(bytes(8_000_000)))
    changed_directory(tmp_path / "bomb.zip", method=zipfile.ZIP_DEFLATED, size=4_200_000_000)

    said = read_confined(bomb, tmp_path / "bomb.zip", megabytes=100, max_unpacked_bytes=4_000_000_000)

    assert all(path.stat().st_size < 70_000 for path in tmp_path.iterdir())
    assert "unpacks to 10000000512 bytes or more, more than dataset.max_unpacked_bytes 4000000000" in said[0]
    assert "unpacks to 4200000000 bytes or more" in said[1]


def test_members_that_share_their_bytes_are_refused(tmp_path: Path, dataset_settings: Settings) -> None:
    content = write_zip(tmp_path / "set.zip", [("happy/a.png", bytes(1_000_000))], zipfile.ZIP_DEFLATED).read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start:end]
    entries = b"".join(entry.replace(b"happy/a", b"happy/" + bytes([letter])) for letter in b"abcdefghij")
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 10, 10, len(entries), start, 0)
    (tmp_path / "set.zip").write_bytes(content[:start] + entries + last)

    with pytest.raises(UserError, match=r"'happy/a\.png' and 'happy/b\.png' overlap, as in a zip bomb; download it"):
        open_dataset(dataset_settings(tmp_path / "set.zip"), 0)


def test_a_member_that_holds_more_than_it_claims_is_a_row_and_takes_no_memory(
    tmp_path: Path, read_confined: Callable[..., list[Any]]
) -> None:
    size = 200_000_000
    methods = {"bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA, "deflate": zipfile.ZIP_DEFLATED}
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = {
        "bzip2": bz2.compress(bytes(size)),
        "lzma": b"\x09\x04\x05\x00\x5d\x00\x00\x80\x00" + bytes(20_000),
        "deflate": b"".join(packer.compress(bytes(4_000_000)) for _ in range(size // 4_000_000)) + packer.flush(),
    }
    paths = []
    for name, method in methods.items():
        path = write_zip(tmp_path / f"{name}.zip", [("happy/a.png", packed[name])])
        paths.append(changed_directory(path, method=method, size=1000, crc=zlib.crc32(bytes(1000))))

    (bzip2,), (lzma,), (deflate,) = read_confined(*paths, megabytes=100)

    assert bzip2["error"] == "packed by method 12; only deflate is read, so pack it again"
    assert lzma["error"] == "packed by method 14; only deflate is read, so pack it again"
    assert deflate["error"] == ""  # the first kilobyte, as it says


def test_a_table_in_an_archive_takes_no_memory_however_much_it_claims(
    tmp_path: Path, read_confined: Callable[..., list[Any]]
) -> None:
    size = 150_000_000
    start = b"emotion,pixels\n3,"
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.addfile(tar_member("faces.csv", size=size), io.BufferedReader(Endless(start, size)))
    write_zip(tmp_path / "set.zip", [("faces.csv", start + bytes(20_000_000))], zipfile.ZIP_DEFLATED)

    said = read_confined(tmp_path / "set.tar.gz", tmp_path / "set.zip", megabytes=100)

    assert all("faces.csv, line 1: a row of more than 4000000 characters" in refusal for refusal in said)


def test_archives_in_an_archive_are_not_opened(tmp_path: Path, dataset_settings: Settings) -> None:
    inner = write_zip(tmp_path / "inner.zip", [("happy/a.png", PNG)]).read_bytes()
    path = write_zip(tmp_path / "set.zip", [("happy/inner.zip", inner), ("happy/inner.tar.gz", inner)])

    with pytest.raises(UserError, match=r"holds no images \(an archive in it must be unpacked first\)"):
        open_dataset(dataset_settings(path), 0)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_the_same_name_are_rows_of_their_own(tmp_path: Path, dataset_settings: Settings) -> None:
    path = write_zip(tmp_path / "set.zip", [("happy/a.png", b"one"), ("happy/a.png", b"two")])

    payloads = [face.payload for face in open_dataset(dataset_settings(path), 0).faces]

    assert payloads == [b"one", b"two"]


@pytest.mark.parametrize(
    ("name", "source"),
    [(b"happy/\x82.png", "happy/é.png"), (b"happy/\x1b\n.png", "happy/\\x1b\\n.png")],
    ids=["cp437", "control characters"],
)
def test_names_in_a_zip_of_any_encoding_are_text_on_one_line(
    name: bytes, source: str, tmp_path: Path, dataset_settings: Settings
) -> None:
    content = write_zip(tmp_path / "set.zip", [("happy/" + "x" * (len(name) - 6), PNG)]).read_bytes()
    (tmp_path / "set.zip").write_bytes(content.replace(b"happy/" + b"x" * (len(name) - 6), name))

    (row,) = ingest_faces(dataset_settings(tmp_path / "set.zip"), seed=0).table.to_dict("records")

    assert (row["source"], row["error"]) == (source, "")


@pytest.mark.parametrize("problem", ["a name that is no UTF-8", "a version from the future"])
def test_a_zip_that_python_cannot_list_is_refused_with_the_way_out(
    problem: str, tmp_path: Path, dataset_settings: Settings
) -> None:
    content = bytearray(write_zip(tmp_path / "set.zip", [("happy/é.png", PNG)]).read_bytes())
    central = content.index(b"PK\x01\x02")
    if problem == "a name that is no UTF-8":
        content[content.index("é".encode(), central) + 1] = 0xFF
    else:
        content[central + 6] = 255
    (tmp_path / "set.zip").write_bytes(content)

    with pytest.raises(UserError, match=r"set\.zip is a damaged archive: .*; download it or pack it again"):
        open_dataset(dataset_settings(tmp_path / "set.zip"), 0)


def test_a_member_without_a_name_is_passed_over(tmp_path: Path, dataset_settings: Settings) -> None:
    content = write_zip(tmp_path / "set.zip", [("happy/a.png", b"one"), ("x", b"two")]).read_bytes()
    place = content.rindex(b"PK\x01\x02")
    nameless = content[:place] + content[place : place + 28] + b"\0\0" + content[place + 30 : place + 46]
    end = bytearray(content[place + 47 :])
    struct.pack_into("<L", end, 12, struct.unpack_from("<L", end, 12)[0] - 1)
    (tmp_path / "set.zip").write_bytes(nameless + end)

    (face,) = open_dataset(dataset_settings(tmp_path / "set.zip"), 0).faces

    assert face.source == "happy/a.png"


def test_a_name_as_long_as_a_book_is_cut(tmp_path: Path, dataset_settings: Settings) -> None:
    path = write_zip(tmp_path / "set.zip", [("b" * 30_000 + "/" + "c" * 30_000 + ".png", PNG)])

    (row,) = ingest_faces(dataset_settings(path), seed=0).table.to_dict("records")

    assert (row["source"], row["label"], row["error"]) == ("c" * 996 + ".png", "b" * 100, "")


def test_a_zip_whose_beginning_is_missing_is_damaged(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", [("happy/a.png", b"x" * 60), ("sad/b.png", b"y" * 60)])
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[20:])

    with pytest.raises(zipfile.BadZipFile, match=r"outside the file|Bad offset"):
        open_zip(cut, 10, "")
