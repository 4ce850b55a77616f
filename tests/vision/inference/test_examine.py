import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.vision.inference.toy_jobs import NAMES, encoded, inference_settings, run_job, table_of
from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.inference import job
from vision.model.onnx_runtime import Predictor


def test_every_picture_has_a_row_and_every_face_of_a_photo_its_own(
    tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None
) -> None:
    root = write_photos(tmp_path / "photos", 2, 0, 1)
    (root / "3.png").write_text("no picture")

    report, folder = run_job(inference_settings(root, tmp_path / "out", detect=True))

    table = table_of(folder)
    assert table[["source", "face"]].to_numpy().tolist() == [
        ["0.png", 0], ["0.png", 1], ["1.png", -1], ["2.png", 0], ["3.png", -1],
    ]  # fmt: skip
    assert table["error"].tolist()[:4] == ["", "", "no face found", ""]
    assert "the file starts with b'no pictu'" in table["error"].iloc[4]
    without = table[table["face"] < 0]
    assert without[["x", "width", "confidence", "probability_sad", "brightness", "size"]].isna().all(axis=None)
    assert (without["emotion"] == "").all()
    assert table["x"].iloc[0] < 200 < 220 < table["x"].iloc[1]
    assert (report.pictures, report.faces, report.without_face, report.unreadable) == (4, 3, 1, 1)
    assert report.errors == (("3.png", table["error"].iloc[4]),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ValueError: the file is empty (0 bytes)"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "the file starts with b'%!PS-Ado'",
        ),
        (encoded(Image.new("L", (640, 480))), "ValueError: 640x480 pixels, more than inference.max_pixels 100000"),
        (encoded(Image.new("L", (64, 64), 9))[:-40], "truncated"),
        (bytes(70_000), "ValueError: 70000 bytes, more than inference.max_file_bytes 60000"),
    ],
    ids=["empty", "a program for Ghostscript", "too many pixels", "cut off", "too large"],
)
def test_what_cannot_be_read_is_a_row_with_the_reason(
    content: bytes, said: str, tmp_path: Path, quick_figures: None
) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    settings = inference_settings(
        tmp_path / "photo.png", tmp_path / "out", max_pixels=100_000, max_file_bytes=60_000, detect=True
    )

    report, folder = run_job(settings)

    (row,) = table_of(folder).to_dict("records")
    assert said in row["error"]
    assert (row["source"], row["face"], report.unreadable) == ("photo.png", -1, 1)


def test_photos_with_faces_are_annotated_up_to_the_number_asked_for(
    tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None, small_parts: None
) -> None:
    root = write_photos(tmp_path / "photos", 0, 1, 1, 2, 1)

    report, folder = run_job(inference_settings(root, tmp_path / "out", detect=True, annotated_pictures=2))

    written = sorted((folder / "annotated").iterdir())
    assert [path.name for path in written] == ["000001-1.jpg", "000002-2.jpg"]
    assert report.annotated == 2
    with Image.open(written[0]) as annotated:
        assert annotated.size == (528, 240)  # enlarged, so that the label can be read
        plain = np.asarray(Image.open(root / "1.png").resize(annotated.size), dtype=float)
        assert np.abs(np.asarray(annotated, dtype=float) - plain).max(axis=2).max() > 80


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("I;16", "PNG", {}),
        ("CMYK", "JPEG", {"quality": 95}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("RGB", "WEBP", {}),
        ("F", "TIFF", {}),
    ],
)
def test_pictures_of_any_pixel_format_are_searched(
    mode: str, form: str, options: dict[str, Any], tmp_path: Path, quick_figures: None
) -> None:
    level = np.full((200, 300), 90, dtype=np.uint8)
    level[:, 50:250] = draw_face(EXPRESSIONS["happy"], 200, 2.0, np.random.default_rng(4))
    image = Image.fromarray(level)
    if mode in ("I;16", "F"):
        image = Image.fromarray(level.astype(np.uint16) * 257 if mode == "I;16" else level.astype(np.float32) / 255)
    (tmp_path / "photo.png").write_bytes(
        encoded(image if mode in ("I;16", "F") else image.convert(mode), form, **options)
    )

    _, folder = run_job(inference_settings(tmp_path / "photo.png", tmp_path / "out", detect=True))

    (error,) = table_of(folder)["error"]
    assert error == ""
    assert len(list((folder / "annotated").iterdir())) == 1


def test_a_turned_photo_is_searched_and_annotated_upright(
    tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None
) -> None:
    image = Image.open(write_photos(tmp_path / "photos", 1) / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    (tmp_path / "turned.jpg").write_bytes(encoded(image.rotate(90, expand=True), "JPEG", exif=exif, quality=95))

    _, folder = run_job(inference_settings(tmp_path / "turned.jpg", tmp_path / "out", detect=True))

    assert table_of(folder)["face"].tolist() == [0]
    with Image.open(next((folder / "annotated").iterdir())) as annotated:
        assert annotated.width > annotated.height


def test_frames_of_a_video_are_pictures(tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None) -> None:
    photo = cv2.imread(str(write_photos(tmp_path / "photos", 2) / "0.png"))
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (440, 200)
    )
    for _ in range(15):
        writer.write(photo)
    writer.release()

    _, folder = run_job(inference_settings(tmp_path / "clip.avi", tmp_path / "out", detect=True))

    rows = table_of(folder)[["source", "face"]].to_numpy().tolist()
    assert rows == [["clip.avi#t=0.00s", 0], ["clip.avi#t=0.00s", 1], ["clip.avi#t=1.00s", 0], ["clip.avi#t=1.00s", 1]]


def test_memory_does_not_grow_with_the_number_of_pictures(
    tmp_path: Path, quick_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "CROPS_A_PART", 128)
    picture = encoded(Image.new("L", (24, 24), 77))
    resident: list[int] = []

    def predict_and_measure(faces: np.ndarray, batch_size: int) -> np.ndarray:
        resident.append(psutil.Process().memory_info().rss)
        return np.full((len(faces), len(NAMES)), 1 / len(NAMES), dtype=np.float32)

    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number in range(3_000):
            archive.writestr(f"{number}.png", picture)

    settings = inference_settings(tmp_path / "set.zip", tmp_path / "out", batch_size=128)
    run_job(settings, Predictor(side=96, predict=predict_and_measure))

    assert len(resident) == 24
    assert max(resident[8:]) - max(resident[:8]) < 7e6  # the 2,000 faces after those that warm up are 18 MB
