import importlib.util
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from vision.data.ingestion import decode_face, ingest_faces
from vision.data.readers import open_dataset

FORMS = {
    "a.jfif": "JPEG", "b.gif": "GIF", "c.avif": "AVIF", "d.pgm": "PPM", "e.jp2": "JPEG2000", "f.dat": "PNG", "g": "BMP",
    "h.txt": "WEBP",
}  # fmt: skip
LEVELS = [Image.fromarray(np.full((32, 32), level, dtype=np.uint8)) for level in (90, 200)]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def encoded(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    LEVELS[0].save(buffer, form, **options)
    return buffer.getvalue()


def write_set(path: Path, files: dict[str, bytes]) -> Path:
    """Write a folder, or the same as a zip or tar file."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif path.suffix == ".gz":
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar.gz"])
def test_every_image_is_read_whatever_its_name_and_the_rest_is_counted(
    name: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    files = {f"happy/{file}": encoded(form) for file, form in FORMS.items()}
    files |= {
        "happy/clip.mp4": b"\0\0\0\x18ftypmp42",
        "happy/labels.csv": b"a,b",
        "happy/notes.txt": b"a text",
        "x.eps": b"%!PS",
    }
    files |= {"happy/.hidden.png": b"", "__MACOSX/happy/a.png": b""}

    faces = ingest_faces(dataset_settings(write_set(tmp_path / name, files)), seed=0)

    assert sorted(faces.table["source"]) == [f"happy/{file}" for file in FORMS]
    assert faces.decodable.all()
    np.testing.assert_allclose(faces.images, 90, atol=2)
    left_out = faces.reading["left out"]
    assert left_out.startswith("4 files (")
    assert all(part in left_out for part in ("1 .mp4", "1 .csv", "1 .txt", "1 .eps", "happy/clip.mp4"))


def test_a_file_that_is_named_as_an_image_is_a_row_even_where_it_is_none(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    root = write_set(tmp_path / "set", {"happy/a.png": encoded("PNG"), "happy/b.gif": b"a text"})

    faces = ingest_faces(dataset_settings(root), seed=0)

    assert faces.decodable.tolist() == [True, False]
    assert "left out" not in faces.reading


def test_of_an_animation_the_first_picture_is_read_and_that_is_said(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    moving = encoded("GIF", save_all=True, append_images=LEVELS[1:])
    root = write_set(tmp_path / "set", {"happy/a.gif": moving, "happy/b.png": encoded("PNG")})

    faces = ingest_faces(dataset_settings(root), seed=0)

    assert faces.reading["first picture only"] == "of 1 file (1 .gif; for example happy/a.gif), which hold several"
    np.testing.assert_allclose(faces.images, 90, atol=1)


@pytest.mark.parametrize("name", ["set", "set.zip"])
def test_files_of_which_none_is_an_image_are_named(
    name: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    path = write_set(tmp_path / name, {"happy/clip.mp4": b"\0\0\0\x18ftypmp42", "happy/notes.txt": b"a text"})

    with pytest.raises(UserError, match=r"holds no images.*found 2 files \(1 \.mp4, 1 \.txt; for example happy/clip"):
        open_dataset(dataset_settings(path), 0)


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is not None, reason="pillow-heif is installed")
def test_a_heic_picture_names_the_package_that_reads_it(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"HEIC pictures need the package pillow-heif: run `\.venv/bin/pip install"):
        decode_face(HEIC, 1000)
    with pytest.raises(UserError, match=r"holds 1 file \(1 \.heic; for example happy/a\.heic\); HEIC pictures need"):
        open_dataset(dataset_settings(write_set(tmp_path / "set", {"happy/a.heic": HEIC})), 0)


def test_a_side_file_is_not_read_as_an_image_is(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    root = write_set(tmp_path / "set", {"happy/a.png": encoded("PNG"), "happy/large.bin": bytes(2_000_000)})

    (face,) = open_dataset(dataset_settings(root, max_file_bytes=10_000), 0).faces

    assert face.source == "happy/a.png"
