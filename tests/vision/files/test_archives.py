import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.errors import UserError
from vision.files.archives import Limits, image_members, member_path, open_zip, read_member
from vision.files.tar_files import is_tar, list_tar, read_tar

LIMITS = Limits(members=100, file_bytes=1_000_000, unpacked_bytes=10_000_000, section="dataset", way_out="take fewer")


def read_images(path: Path, limit: int = 1_000_000) -> list[bytes | Exception]:
    with open_zip(path, 100, "take fewer") as archive:
        return [read_member(archive, member, limit) for member in image_members(archive)[0]]


def read_tar_images(path: Path, limits: Limits) -> Iterator[tuple[str, bytes | Exception]]:
    images, _ = list_tar(path, limits)
    return zip((file.name for file in images), read_tar(path, limits, [file.start for file in images]), strict=True)


def write_tar(path: Path, *names: str, content: bytes = b"x" * 600) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_an_error_of_its_own_face_only(
    compression: int, tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    files = sorted(write_faces(tmp_path / "set", 3).iterdir())
    with zipfile.ZipFile(tmp_path / "set.zip", "w", compression) as archive:
        for file in files:
            archive.write(file, file.name)
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[100:140] = b"\xff" * 40  # inside the first member
    (tmp_path / "set.zip").write_bytes(bytes(content))

    read = read_images(tmp_path / "set.zip")

    assert [isinstance(found, Exception) for found in read] == [True, False, False]
    assert read[1:] == [file.read_bytes() for file in files[1:]]


def test_an_encrypted_member_is_an_error_of_its_own(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("happy/a.png", b"secret")
    content = bytearray(buffer.getvalue())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1  # the flag that says "encrypted"
    (tmp_path / "set.zip").write_bytes(bytes(content))

    (found,) = read_images(tmp_path / "set.zip")

    assert isinstance(found, Exception)
    assert "encrypted" in str(found)


def test_a_member_larger_than_allowed_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("happy/bomb.png", b"\x00" * 2_000_000)

    (found,) = read_images(tmp_path / "set.zip")

    assert "2000000 bytes, more than dataset.max_file_bytes 1000000" in str(found)


def test_a_zip_of_too_many_members_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number in range(101):
            archive.writestr(f"{number}.txt", b"")

    with pytest.raises(UserError, match=r"set\.zip lists more than 100 files; take fewer"):
        open_zip(tmp_path / "set.zip", 100, "take fewer")


def test_folders_and_other_files_are_not_images_of_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("a.png/", "b.png", "c.txt", "__MACOSX/d.png", "e\\f.JPG"):
            archive.writestr(name, b"")

    with open_zip(tmp_path / "set.zip", 100, "") as archive:
        assert [member.filename for member in image_members(archive)[0]] == ["b.png", "e\\f.JPG"]


def test_windows_separators_separate_folders() -> None:
    assert member_path("train\\happy\\a.png").parts == ("train", "happy", "a.png")


def test_a_tar_gives_its_images_in_order_and_nothing_else(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", "b.png", "notes.txt", "a.png")

    assert list(read_tar_images(path, LIMITS)) == [("b.png", b"x" * 600), ("a.png", b"x" * 600)]


def test_a_member_of_a_tar_larger_than_allowed_is_not_read_and_the_next_is(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", "large.png", content=bytes(1_000_001))
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("empty.png"))

    (_, large), (_, empty) = read_tar_images(path, LIMITS)

    assert "1000001 bytes, more than dataset.max_file_bytes 1000000" in str(large)
    assert empty == b""


@pytest.mark.parametrize(("count", "content", "said"), [(101, b"", "take fewer"), (11, bytes(999_000), "if you trust")])
def test_a_tar_of_too_much_is_refused_with_the_way_out(count: int, content: bytes, said: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", *(f"{number}.png" for number in range(count)), content=content)

    with pytest.raises(UserError, match=rf"set\.tar .*{said}"):
        list(read_tar_images(path, LIMITS))


def test_a_tar_that_breaks_off_between_members_is_damaged(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "set.tar", "a.png", "b.png")
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1].offset
    path.write_bytes(path.read_bytes()[:second])

    with pytest.raises(tarfile.ReadError, match="breaks off"):
        list(read_tar_images(path, LIMITS))


@pytest.mark.parametrize(("content", "expected"), [(b"\x1f\x8b\x08\x00 and then nothing", False), (b"text", False)])
def test_what_does_not_start_as_a_tar_is_not_one(content: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)

    assert is_tar(tmp_path / "file") is expected
    assert is_tar(write_tar(tmp_path / "set.tar", "a.png"))
