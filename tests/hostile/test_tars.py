import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from tests.hostile.archive_writers import (
    PNG,
    block,
    errors,
    raw_tar,
    tar_member,
    with_checksum,
    write_tar,
)
from vision.data.ingestion import ingest_faces
from vision.data.readers import open_dataset
from vision.files import tar_files

Settings = Callable[..., Any]


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


def test_a_tar_of_too_many_members_is_refused_on_the_way(tmp_path: Path, dataset_settings: Settings) -> None:
    path = write_tar(tmp_path / "set.tar.gz", ((tar_member(f"{number}.txt"), b"") for number in range(101)))

    with pytest.raises(UserError, match=r"lists more than 100 files; raise dataset\.max_images"):
        list(open_dataset(dataset_settings(path, max_images=100), 0).faces)


def test_zeros_without_end_behind_a_tar_are_refused(tmp_path: Path, dataset_settings: Settings) -> None:
    path = raw_tar(tmp_path / "set.tar.gz", block("happy/a.txt", tarfile.REGTYPE, 0), bytes(30_000_000))

    with pytest.raises(UserError, match=r"more than dataset\.max_unpacked_bytes 1000000;"):
        list(open_dataset(dataset_settings(path, max_unpacked_bytes=1_000_000), 0).faces)


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


def test_a_tar_that_leads_back_to_its_start_ends(tmp_path: Path, dataset_settings: Settings) -> None:
    first, second = (block(f"happy/{name}.png", tarfile.REGTYPE, 0) for name in "ab")
    below_zero = (-1024 & (1 << 96) - 1).to_bytes(12, "big")  # a size in base 256
    backwards = with_checksum(second[:124] + below_zero + second[136:])
    path = raw_tar(tmp_path / "set.tar.gz", first, backwards, bytes(1024))

    with pytest.raises(UserError, match="is a damaged archive"):
        list(open_dataset(dataset_settings(path), 0).faces)


def test_a_name_in_a_tar_that_is_no_text_is_a_row(tmp_path: Path, dataset_settings: Settings) -> None:
    member = tar_member(b"happy/\xe9.png".decode("utf-8", "surrogateescape"), size=len(PNG))
    path = write_tar(tmp_path / "set.tar", [(member, PNG)])

    (row,) = ingest_faces(dataset_settings(path, workers=1), seed=0).table.to_dict("records")

    assert (row["source"], row["error"]) == ("happy/\\udce9.png", "")
