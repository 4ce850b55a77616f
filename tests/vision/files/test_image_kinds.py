import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vision.files.image_kinds import HEAD_BYTES, has_several_pictures, image_kind

LEVELS = [Image.fromarray(np.full((16, 16), level, dtype=np.uint8)) for level in (10, 200, 90)]


def encoded(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    LEVELS[0].save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("WEBP", "WebP"),
        ("AVIF", "AVIF"), ("PPM", "PNM"), ("JPEG2000", "JPEG 2000"),
    ],
)  # fmt: skip
def test_an_image_is_known_by_its_first_bytes(form: str, kind: str) -> None:
    assert image_kind(encoded(form)[:HEAD_BYTES]) == kind


@pytest.mark.parametrize("brand", [b"heic", b"mif1\0\0\0\0mif1heic"])
def test_what_a_phone_writes_is_heic(brand: bytes) -> None:
    assert image_kind(b"\0\0\0\x18ftyp" + brand) == "HEIC"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BMW is a car",
        b"P1 is a race",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"PK\x03\x04",
        b"\0\0\0\x18ftypmp42",
        b"RIFF1234AVI ",
    ],
)
def test_a_text_a_film_and_a_program_for_ghostscript_are_not_images(head: bytes) -> None:
    assert image_kind(head) == ""


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_several_pictures_in_a_file_are_seen(form: str) -> None:
    assert has_several_pictures(encoded(form, save_all=True, append_images=LEVELS[1:]))
    assert not has_several_pictures(encoded(form))


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_file_that_is_cut_anywhere_is_looked_at_without_an_error(form: str) -> None:
    whole = encoded(form, save_all=True, append_images=LEVELS[1:])

    found = {has_several_pictures(whole[:length]) for length in range(len(whole))}

    assert found <= {True, False}
