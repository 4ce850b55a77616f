import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from configs.settings import Settings
from vision.data import blazeface_detector, face_detection, ingestion
from vision.data.ingestion import decode_face, ingest_faces
from vision.data.raw_faces import RawFace
from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.inference.examine import examine_picture
from vision.inference.pictures import RawPicture

LIMIT = 50_000_000


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": b"", b"IEND": b""}
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "0 bytes"),
        (b"this is a text file", "not an image: the file starts with b'this is '"),
        (png_header(20_000, 20_000), "exceeds limit|more than dataset.max_pixels"),
        (png_header(8_000, 8_000), "8000x8000 pixels, more than dataset.max_pixels 50000000"),
        (encoded(Image.new("L", (64, 64), 9))[:-30], "truncated|Truncated|broken"),
        ("1 2 3", "3 pixel values do not make a square image"),
        (" ".join(["1"] * 2303), "2303 pixel values do not make a square image"),
        ("", "0 pixel values"),
        ("1 2 3 nan", "invalid literal"),
        ("[1, 2, 3, 4]", r"'\[1,'; pixels are whole numbers with spaces between them"),
        ("1 2 3 256", "pixel values 1 to 256, allowed 0 to 255"),
        ("1 2 3 -4", "pixel values -4 to 3, allowed 0 to 255"),
    ],
)
def test_what_cannot_be_decoded_says_why(payload: bytes | str, said: str) -> None:
    with pytest.raises((ValueError, OSError, Image.DecompressionBombError), match=said):
        decode_face(payload, LIMIT)


def test_a_csv_row_is_read_row_by_row() -> None:
    pixels = decode_face("1 2 3 4", LIMIT).pixels

    np.testing.assert_array_equal(pixels, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("image", "level"),
    [
        (Image.new("RGB", (4, 4), (100, 100, 100)), 100),
        (Image.new("RGBA", (4, 4), (100, 100, 100, 255)), 100),
        (Image.fromarray(np.full((4, 4), 100 * 257, dtype=np.uint16)), 100),
        (Image.fromarray(np.full((4, 4), 255, dtype=np.uint16)), 255),
        (Image.new("1", (4, 4), 1), 255),
        (Image.new("P", (4, 4), 0), 0),
    ],
    ids=["rgb", "rgba", "16 bit", "8 bit in 16", "1 bit", "palette"],
)
def test_every_pixel_format_becomes_grey_levels_of_8_bits(image: Image.Image, level: int) -> None:
    pixels, mode, *_ = decode_face(encoded(image), LIMIT)

    assert mode.startswith(image.mode[:1])
    np.testing.assert_array_equal(pixels, np.full((4, 4), level, dtype=np.uint8))


def test_floating_point_levels_between_zero_and_one_are_stretched() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5], [1.0, 0.25]], dtype=np.float32))

    pixels, mode, *_ = decode_face(encoded(image, "TIFF"), LIMIT)

    assert mode == "F"
    np.testing.assert_array_equal(pixels, [[0, 127], [255, 63]])


def test_large_files_are_handed_out_in_smaller_chunks() -> None:
    faces = [RawFace(str(n), "happy", "train", b"x" * 20_000_000) for n in range(5)]

    assert [len(chunk) for chunk in ingestion.chunk_faces(iter(faces))] == [2, 2, 1]


def test_a_photo_that_was_turned_is_put_upright() -> None:
    image = Image.fromarray(np.array([[0, 0], [255, 255], [255, 255]], dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6  # turn by 90 degrees clockwise to see it upright

    pixels = decode_face(encoded(image, "TIFF", exif=turned), LIMIT).pixels

    np.testing.assert_array_equal(pixels, [[255, 255, 0], [255, 255, 0]])


def test_an_unreadable_image_is_a_row_with_its_error(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "train" / "happy", 2)
    (tmp_path / "train" / "happy" / "text.jpg").write_text("no image")
    (tmp_path / "train" / "happy" / "empty.png").write_bytes(b"")

    faces = ingest_faces(dataset_settings(tmp_path), seed=0)

    errors = faces.table.set_index("source")["error"]
    assert len(faces) == 4
    assert faces.decodable.sum() == 2
    assert "0 bytes" in errors["train/happy/empty.png"]
    assert "not an image" in errors["train/happy/text.jpg"]
    assert not faces.images[~faces.decodable].any()


def test_class_names_are_recognised_in_any_case(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    for name in ("HAPPY", "Sad", "bored"):
        write_faces(tmp_path / name, 1)

    faces = ingest_faces(dataset_settings(tmp_path), seed=0)

    assert dict(zip(faces.table["label"], faces.labels.tolist(), strict=True)) == {"happy": 3, "sad": 5, "bored": -1}


def test_the_table_describes_the_image_at_its_original_size(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    (tmp_path / "happy").mkdir()
    halves = np.hstack([np.zeros((40, 30), np.uint8), np.full((40, 30), 200, np.uint8)])
    cv2.imwrite(str(tmp_path / "happy" / "halves.png"), halves)

    faces = ingest_faces(dataset_settings(tmp_path), seed=0)

    row = faces.table.iloc[0]
    assert (row["width"], row["height"], row["mode"], row["mean"], row["standard_deviation"]) == (60, 40, "L", 100, 100)
    assert faces.images.shape == (1, 32, 32)


def test_several_workers_read_what_one_reads(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    dataset_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("happy", "sad"):
        write_faces(tmp_path / name, 20)
    monkeypatch.setattr(ingestion, "CHUNK", 8)  # five chunks for two workers
    alone = ingest_faces(dataset_settings(tmp_path), seed=0)
    monkeypatch.setattr(ingestion, "SMALL_SET", 0)

    together = ingest_faces(dataset_settings(tmp_path, workers=2), seed=0)

    assert together.table.equals(alone.table)
    np.testing.assert_array_equal(together.images, alone.images)


def test_twelve_bits_in_16_bit_files_are_scaled_alike_and_a_dark_image_stays_dark(
    tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    (tmp_path / "happy").mkdir()
    levels = np.linspace(0, 4000, 32 * 32).reshape(32, 32).astype(np.uint16)
    for name, values in {"bright": levels, "dark": levels // 8}.items():  # the dark one alone would be of 10 bits
        Image.fromarray(values).save(tmp_path / "happy" / f"{name}.png")

    faces = ingest_faces(dataset_settings(tmp_path), seed=0)
    fixed = ingest_faces(dataset_settings(tmp_path, white_level=65535), seed=0)

    expected = [levels / 4095 * 255, levels // 8 / 4095 * 255]
    np.testing.assert_array_equal(faces.images, np.array(expected).astype(np.uint8))
    assert faces.reading["white level"].startswith("4095 in 2 images of mode I;16")
    assert fixed.images.max() == 4000 * 255 // 65535


def test_transparent_images_are_counted(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    (tmp_path / "happy").mkdir()
    for name, alpha in {"hidden": 0, "opaque": 255}.items():
        Image.new("RGBA", (32, 32), (200, 200, 200, alpha)).save(tmp_path / "happy" / f"{name}.png")

    faces = ingest_faces(dataset_settings(tmp_path), seed=0)

    assert faces.images[:, 0, 0].tolist() == [128, 200]
    assert faces.reading["alpha over grey"].startswith("1 transparent images")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two whole photos: one with two drawn faces, of which the right one is larger, and one without."""
    (tmp_path / "happy").mkdir()
    photo = np.full((490, 640), 90, dtype=np.uint8)
    for x, y, side in ((40, 150, 140), (300, 60, 260)):
        photo[y : y + side, x : x + side] = draw_face(EXPRESSIONS["happy"], side, 2.0, np.random.default_rng(0))
    cv2.imwrite(str(tmp_path / "happy" / "faces.png"), photo)
    cv2.imwrite(str(tmp_path / "happy" / "wall.png"), np.full((490, 640), 90, dtype=np.uint8))
    return tmp_path


def test_the_largest_face_is_cut_out_as_inference_does_and_pictures_without_one_are_left_out(
    photos: Path, dataset_settings: Callable[..., Any], small_settings: Settings
) -> None:
    inference = small_settings.inference.model_copy(update={"margin": 0.1, "detect": True})
    dataset = dataset_settings(photos, crop_faces=True)
    settings = small_settings.model_copy(update={"dataset": dataset, "inference": inference})

    faces = ingest_faces(dataset, 0, settings.detection)

    raw = RawPicture("faces.png", (photos / "happy" / "faces.png").read_bytes())
    both = examine_picture(raw, inference, 32, keep=False).faces
    np.testing.assert_array_equal(faces.images[0], both.images[1])
    assert faces.table["width"].tolist() == [both.sizes[1], 0]
    assert faces.table["error"].tolist() == ["", "no face found"]
    assert faces.reading["faces cut out"] == "1, the largest of each picture; 1 pictures without a face are left out"


def test_detectors_get_pictures_in_the_order_red_green_blue_in_training_and_in_inference(
    tmp_path: Path,
    dataset_settings: Callable[..., Any],
    small_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[int]] = []

    def detector(picture: np.ndarray, _: object) -> np.ndarray:
        seen.append(picture[0, 0].tolist())
        return np.empty((0, 4))

    (tmp_path / "happy").mkdir()
    photo = encoded(Image.new("RGB", (64, 64), (200, 90, 10)))
    (tmp_path / "happy" / "red.png").write_bytes(photo)
    detection = small_settings.inference
    monkeypatch.setitem(face_detection.DETECTORS, detection.detector, detector)
    monkeypatch.setattr(ingestion, "check_detector", lambda _: None)
    frame = np.full((64, 64, 3), (200, 90, 10), dtype=np.uint8)

    ingest_faces(dataset_settings(tmp_path, crop_faces=True), 0, detection)
    examine_picture(RawPicture("red.png", photo), detection, 32, keep=False)
    examine_picture(RawPicture("clip.mp4#t=0.00s", frame), detection, 32, keep=False)

    assert seen == [[200, 90, 10]] * 3


def test_an_altered_detector_ends_ingestion_before_a_picture_is_read(
    photos: Path, dataset_settings: Callable[..., Any], small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blazeface_detector, "MODEL_SHA256", "of another file")
    blazeface_detector._network.cache_clear()

    with pytest.raises(UserError, match="is not the file that belongs to this version"):
        ingest_faces(dataset_settings(photos, crop_faces=True), 0, small_settings.inference)


def test_faces_cannot_be_cut_out_without_saying_how(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"dataset\.crop_faces is True, and detection is None"):
        ingest_faces(dataset_settings(tmp_path, crop_faces=True), seed=0)


def test_faces_are_memory_mapped(drawn: Any) -> None:
    assert isinstance(drawn.images, np.memmap)


def test_shrinking_averages_areas() -> None:
    checkerboard = np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((2, 2))).astype(np.uint8) * 200

    small = ingestion.resize_face(checkerboard, 8)

    np.testing.assert_array_equal(small, np.full((8, 8), 100))
