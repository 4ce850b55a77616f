import bz2
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from configs.errors import UserError
from vision.data.ingestion import ingest_faces
from vision.data.raw_faces import RawFace
from vision.data.readers import open_dataset
from vision.files import tar_files
from vision.files.archives import open_zip

PNG = cv2.imencode(".png", np.arange(1024, dtype=np.uint8).reshape(32, 32))[1].tobytes()
LEADING_OUT = (
    "../evil.png", "/evil.png", "/tmp/../evil.png", "..\\evil.png", "C:\\evil\\evil.png", "a/../../../evil.png",
    "happy/..png/evil.png", "happy/good.png",
)  # fmt: skip
Settings = Callable[..., Any]


def write_zip(path: Path, members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, size, link
    return member


def write_tar(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def raw_tar(path: Path, *blocks: bytes) -> Path:
    """Write a tar.gz of header blocks and data that no tar program would write."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for block in blocks:
            file.write(block)
    return path


class Endless(io.RawIOBase):
    """Zeros after a start, up to a size."""

    def __init__(self, start: bytes, size: int) -> None:
        self.start, self.left = start, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = (self.start + bytes(len(buffer)))[: min(len(buffer), self.left)]
        self.start = self.start[len(piece) :]
        buffer[: len(piece)] = piece
        self.left -= len(piece)
        return len(piece)


def block(name: str, kind: bytes, size: int) -> bytes:
    return tar_member(name, kind, size).tobuf(tarfile.GNU_FORMAT)


def with_checksum(header: bytes) -> bytes:
    summed = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    return header[:148] + b"%06o\0 " % summed + header[156:]


def changed_directory(path: Path, **values: int) -> Path:
    """Let a zip's only member claim another size, method or checksum than it has, in both of its headers."""
    content = bytearray(path.read_bytes())
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    for name, value in values.items():
        offset, form = {"method": (8, "<H"), "crc": (14, "<I"), "size": (22, "<I")}[name]
        struct.pack_into(form, content, local + offset, value)
        struct.pack_into(form, content, central + offset + 2, value)
    path.write_bytes(content)
    return path


def errors(faces: Iterable[RawFace]) -> dict[str, str]:
    return {face.source: str(face.payload) if isinstance(face.payload, Exception) else "" for face in faces}


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


def test_links_pipes_and_devices_in_a_tar_are_rows_with_the_reason(tmp_path: Path, dataset_settings: Settings) -> None:
    kinds = {
        "symlink": tar_member("happy/symlink.png", tarfile.SYMTYPE, link="/etc/passwd"),
        "hardlink": tar_member("happy/hardlink.png", tarfile.LNKTYPE, link="../../etc/passwd"),
        "pipe": tar_member("happy/pipe.png", tarfile.FIFOTYPE),
        "device": tar_member("happy/device.png", tarfile.CHRTYPE),
        "folder": tar_member("happy/folder.png", tarfile.DIRTYPE),
    }
    path = write_tar(tmp_path / "set.tar", ((member, b"") for member in kinds.values()))

    found = errors(open_dataset(dataset_settings(path), 0).faces)

    link = "a link, which is not followed; pack the set again with what it points to"
    assert found == {
        "happy/symlink.png": link,
        "happy/hardlink.png": link,
        "happy/pipe.png": "not a regular file",
        "happy/device.png": "not a regular file",
    }


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


def test_a_tar_of_too_many_members_is_refused_on_the_way(tmp_path: Path, dataset_settings: Settings) -> None:
    path = write_tar(tmp_path / "set.tar.gz", ((tar_member(f"{number}.txt"), b"") for number in range(101)))

    with pytest.raises(UserError, match=r"lists more than 100 files; raise dataset\.max_images"):
        list(open_dataset(dataset_settings(path, max_images=100), 0).faces)


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


def test_zeros_without_end_behind_a_tar_are_refused(tmp_path: Path, dataset_settings: Settings) -> None:
    path = raw_tar(tmp_path / "set.tar.gz", block("happy/a.txt", tarfile.REGTYPE, 0), bytes(30_000_000))

    with pytest.raises(UserError, match=r"more than dataset\.max_unpacked_bytes 1000000;"):
        list(open_dataset(dataset_settings(path, max_unpacked_bytes=1_000_000), 0).faces)


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


def test_headers_of_a_tar_take_no_memory_however_much_they_claim(
    tmp_path: Path, read_confined: Callable[..., list[Any]]
) -> None:
    size = 200_000_000
    sparse = block("a.png", tarfile.GNUTYPE_SPARSE, 512)
    record = b"".join(b"16 k%06d=valu\n" % number for number in range(3000))
    whole = record + bytes(-len(record) % 512)
    wide = block("g", tarfile.XGLTYPE, len(record)) + whole + block("a", tarfile.REGTYPE, 0)
    names = {
        "pax": [block("x", tarfile.XHDTYPE, size), bytes(size)],
        "long": [block("x", tarfile.GNUTYPE_LONGNAME, size), bytes(size)],
        "deep": [block("g", tarfile.XGLTYPE, 0) * 20_000],
        "wide": [wide * 200],
        "sparse": [with_checksum(sparse[:482] + b"\1" + sparse[483:]), (b"00000000001\0" * 42 + b"\1" * 8) * 120_000],
    }
    paths = [raw_tar(tmp_path / f"{name}.tar.gz", *blocks) for name, blocks in names.items()]

    said = read_confined(*paths, megabytes=150)

    assert [isinstance(refusal, str) for refusal in said] == [True] * len(names)
    assert said[0].endswith("pax.tar.gz is not a readable zip or tar file; was it copied or downloaded completely?")


def test_endless_names_in_a_tar_are_refused(
    tmp_path: Path, dataset_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_files, "LISTED_CHARACTERS", 1000)
    members = ((tar_member(f"{number}{'n' * 200}.txt"), b"") for number in range(9))
    path = write_tar(tmp_path / "set.tar.gz", members)

    with pytest.raises(UserError, match=r"is a damaged archive: names of more than 1000 characters in all"):
        open_dataset(dataset_settings(path), 0)


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


def test_a_tar_that_leads_back_to_its_start_ends(tmp_path: Path, dataset_settings: Settings) -> None:
    first, second = (block(f"happy/{name}.png", tarfile.REGTYPE, 0) for name in "ab")
    below_zero = (-1024 & (1 << 96) - 1).to_bytes(12, "big")  # a size in base 256
    backwards = with_checksum(second[:124] + below_zero + second[136:])
    path = raw_tar(tmp_path / "set.tar.gz", first, backwards, bytes(1024))

    with pytest.raises(UserError, match="is a damaged archive"):
        list(open_dataset(dataset_settings(path), 0).faces)


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


def test_a_name_in_a_tar_that_is_no_text_is_a_row(tmp_path: Path, dataset_settings: Settings) -> None:
    member = tar_member(b"happy/\xe9.png".decode("utf-8", "surrogateescape"), size=len(PNG))
    path = write_tar(tmp_path / "set.tar", [(member, PNG)])

    (row,) = ingest_faces(dataset_settings(path, workers=1), seed=0).table.to_dict("records")

    assert (row["source"], row["error"]) == ("happy/\\udce9.png", "")


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
