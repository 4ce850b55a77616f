import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from vision.data.ingestion import decode_chunk, ingest_faces
from vision.data.raw_faces import RawFace
from vision.data.readers import open_dataset

LEVELS = np.arange(1024, dtype=np.uint8).reshape(32, 32)
Settings = Callable[..., Any]


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


PLAIN = encoded(Image.fromarray(LEVELS))
SQUARES = [Image.fromarray(np.full((32, 32), level, dtype=np.uint8)) for level in (10, 200)]


def bombs() -> dict[str, bytes]:
    """Return files of a few kilobytes that claim, or unpack to, gigabytes."""
    million = zlib.compress(bytes(100_000_000), 9)
    webp = bytearray(encoded(Image.new("RGBA", (32, 32)), "WEBP", save_all=True, append_images=SQUARES))
    place = webp.index(b"VP8X") + 12  # 24 bits each: width and height, less one
    webp[place : place + 6] = (16_382).to_bytes(3, "little") * 2
    gif = bytearray(encoded(SQUARES[0], "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(encoded(SQUARES[0], "BMP"))
    struct.pack_into("<ii", bmp, 18, 60_000, 60_000)
    return {
        "png.png": png(60_000, 60_000, chunk(b"IDAT", million)),
        "text.png": PLAIN[:33] + chunk(b"zTXt", b"Comment\0\0" + million) * 3 + PLAIN[33:],
        "profile.png": PLAIN[:33] + chunk(b"iCCP", b"profile\0\0" + million) + PLAIN[33:],
        "pixels.png": png(7000, 7000, chunk(b"IDAT", b"")),
        "webp.webp": bytes(webp),
        "gif.png": bytes(gif),
        "bmp.bmp": bytes(bmp),
        "one_line.png": png(40_000_000, 1, chunk(b"IDAT", zlib.compress(bytes(40_000_001), 9))),
    }


def test_decompression_bombs_are_rows_in_bounded_time_and_memory(
    tmp_path: Path, read_confined: Callable[..., list[Any]]
) -> None:
    (tmp_path / "happy").mkdir()
    for name, content in bombs().items():
        (tmp_path / "happy" / name).write_bytes(content)

    (rows,) = read_confined(tmp_path, megabytes=700, decode=True)

    found = {Path(row["source"]).name: row["error"] for row in rows}
    assert "60000x60000 pixels, more than dataset.max_pixels 50000000" in found["png.png"]
    assert "65535x65535 pixels, more than dataset.max_pixels" in found["gif.png"]
    assert "60000x60000 pixels, more than dataset.max_pixels" in found["bmp.bmp"]
    assert all(found[name] for name in ("pixels.png", "text.png", "webp.webp"))
    assert len(found) == len(bombs())


@pytest.mark.parametrize(
    ("content", "level", "mode"),
    [
        (encoded(Image.new("CMYK", (32, 32), (0, 0, 0, 55)), "JPEG", quality=100), 200, "CMYK"),
        (encoded(Image.fromarray(np.full((32, 32), 200 * 257, np.uint16))), 200, "I;16"),
        (encoded(Image.new("LA", (32, 32), (200, 0))), 128, "LA"),
        (encoded(Image.new("RGBA", (32, 32), (200, 200, 200, 0))), 128, "RGBA"),
        (encoded(SQUARES[1], "GIF", save_all=True, append_images=SQUARES), 200, "P"),
        (encoded(SQUARES[1], "PNG", save_all=True, append_images=SQUARES), 200, "L"),
        (encoded(SQUARES[1], "WEBP", save_all=True, append_images=SQUARES, lossless=True), 200, "RGB"),
        (encoded(SQUARES[1], "TIFF", save_all=True, append_images=SQUARES), 200, "L"),
    ],
    ids=["cmyk", "16 bit", "alpha", "colours and alpha", "moving gif", "moving png", "moving webp", "pages of a tiff"],
)
def test_hidden_pixels_are_not_read_and_of_several_pictures_the_first_is(
    content: bytes, level: int, mode: str, small_settings: Any
) -> None:
    images, (row,) = decode_chunk([RawFace("a.png", "happy", "train", content)], small_settings.dataset)

    assert (row["error"], row["mode"]) == ("", mode)
    np.testing.assert_allclose(images[0], level, atol=1)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, LEVELS), (3, np.rot90(LEVELS, 2)), (6, np.rot90(LEVELS, -1)), (8, np.rot90(LEVELS)), (99, LEVELS)],
)
def test_what_a_camera_says_of_its_orientation_is_honoured(
    orientation: int, upright: np.ndarray, small_settings: Any
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(LEVELS), "PNG", exif=exif)

    images, _ = decode_chunk([RawFace("a.png", "happy", "train", content)], small_settings.dataset)

    np.testing.assert_array_equal(images[0], upright)


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff", "a.bmp", "a.webp"])
def test_an_image_is_read_by_what_it_is_and_not_by_its_ending(name: str, small_settings: Any) -> None:
    images, (row,) = decode_chunk([RawFace(name, "happy", "train", PLAIN)], small_settings.dataset)

    assert row["error"] == ""
    np.testing.assert_array_equal(images[0], LEVELS)


def test_one_pixel_is_an_image_whose_size_is_recorded(small_settings: Any) -> None:
    images, (row,) = decode_chunk(
        [RawFace("a.png", "happy", "train", encoded(Image.new("L", (1, 1), 7)))], small_settings.dataset
    )

    assert (row["error"], row["width"], row["height"]) == ("", 1, 1)
    np.testing.assert_array_equal(images[0], 7)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "ValueError: the file is empty (0 bytes)"),
        (PLAIN[: len(PLAIN) // 2], "OSError: "),
        (encoded(Image.fromarray(np.full((32, 32), np.nan, np.float32)), "TIFF"), "ValueError: grey levels that are"),
        (encoded(Image.fromarray(np.full((32, 32), np.inf, np.float32)), "TIFF"), "ValueError: grey levels that are"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "ValueError: not an image: the file starts with"),
        (b"<svg onload='alert(1)'/>", "ValueError: not an image: the file starts with"),
    ],
    ids=["0 bytes", "cut off", "nan", "infinite", "a program for Ghostscript", "svg"],
)
def test_what_is_no_picture_is_a_row_with_the_reason(content: bytes, error: str, small_settings: Any) -> None:
    images, (row,) = decode_chunk([RawFace("a.png", "happy", "train", content)], small_settings.dataset)

    assert row["error"].startswith(error)
    assert not images.any()


def test_a_file_that_is_two_things_is_only_what_it_is_read_as(tmp_path: Path, dataset_settings: Settings) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sad/inner.png", PLAIN)
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "zip.png").write_bytes(PLAIN + packed.getvalue())
    (tmp_path / "happy" / "page.gif.png").write_bytes(encoded(SQUARES[0], "GIF") + b"<script>alert(1)</script>")
    (tmp_path / "picture.zip").write_bytes(PLAIN + packed.getvalue())

    as_pictures = ingest_faces(dataset_settings(tmp_path, reader="folder"), seed=0).table
    as_archive = list(open_dataset(dataset_settings(tmp_path / "picture.zip"), 0).faces)

    assert (as_pictures["error"] == "").all()
    assert as_pictures["source"].tolist() == ["happy/page.gif.png", "happy/zip.png", "picture.zip"]
    assert [face.source for face in as_archive] == ["sad/inner.png"]


def test_a_path_that_is_longer_than_the_system_takes_is_refused_with_its_name(
    tmp_path: Path, dataset_settings: Settings
) -> None:
    start, below = os.open(tmp_path, os.O_RDONLY), "d" * 200
    folder = start
    for _ in range(25):  # 5000 characters; the system takes 4096
        os.mkdir(below, dir_fd=folder)
        folder = os.open(below, os.O_RDONLY, dir_fd=folder)

    with pytest.raises(UserError, match=r"dataset\.path .* cannot be read: File name too long"):
        open_dataset(dataset_settings(tmp_path, reader="folder"), 0)


def test_more_images_than_allowed_are_refused(tmp_path: Path, dataset_settings: Settings) -> None:
    (tmp_path / "happy").mkdir()
    for number in range(4):
        (tmp_path / "happy" / f"{number}.png").write_bytes(PLAIN)

    with pytest.raises(UserError, match=r"holds more than 3 images; raise dataset\.max_images if that is right"):
        open_dataset(dataset_settings(tmp_path, max_images=3), 0)
