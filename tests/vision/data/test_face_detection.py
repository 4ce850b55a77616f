from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from configs.inference_settings import InferenceSettings
from configs.settings import Settings
from vision.data.face_detection import crop_face, find_faces
from vision.data.synthetic import EXPRESSIONS, draw_face


@pytest.fixture(params=["blazeface", "haar"])
def settings(small_settings: Settings, request: pytest.FixtureRequest) -> InferenceSettings:
    return small_settings.inference.model_copy(update={"detector": request.param})


def happy_face(side: int, seed: int = 0) -> np.ndarray:
    return draw_face(EXPRESSIONS["happy"], side, 2.0, np.random.default_rng(seed))


def picture_with(*places: tuple[int, int, int], width: int = 640, height: int = 360) -> np.ndarray:
    """A grey picture with a drawn face in each square of x, y and side."""
    picture = np.full((height, width), 90, dtype=np.uint8)
    for x, y, side in places:
        picture[y : y + side, x : x + side] = happy_face(side)
    return picture


def centres(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, :2] + boxes[:, 2:] / 2


def test_every_face_of_a_picture_is_found_from_left_to_right(settings: InferenceSettings) -> None:
    boxes = find_faces(picture_with((400, 60, 200), (40, 150, 160)), settings)

    np.testing.assert_allclose(centres(boxes), [[120, 230], [500, 160]], atol=20)
    assert ((boxes[:, 2] > 0.5 * np.array([160, 200])) & (boxes[:, 2] < np.array([160, 200]))).all()


def test_boxes_are_in_the_pixels_of_the_picture_however_much_it_was_shrunk(settings: InferenceSettings) -> None:
    picture = picture_with((200, 60, 200))
    large = cv2.resize(picture, None, fx=3, fy=3)

    boxes = find_faces(large, settings.model_copy(update={"detection_side": 640}))

    np.testing.assert_allclose(boxes, 3 * find_faces(picture, settings), atol=15)


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_tilted_face_is_found_where_it_is(degrees: int, settings: InferenceSettings) -> None:
    turning = cv2.getRotationMatrix2D((450, 200), degrees, 1.0)
    picture = cv2.warpAffine(picture_with((350, 100, 200)), turning, (640, 360), borderValue=90)

    boxes = find_faces(picture, settings)

    np.testing.assert_allclose(centres(boxes), [[450, 200]], atol=25)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((1, 1), dtype=np.uint8),
        np.full((400, 3), 200, dtype=np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8),
    ],
    ids=["a pixel", "a strip", "noise"],
)
def test_nothing_is_found_where_there_is_nothing(picture: np.ndarray, settings: InferenceSettings) -> None:
    assert find_faces(picture, settings).shape == (0, 4)


def test_threads_find_what_one_finds(settings: InferenceSettings) -> None:
    picture = picture_with((400, 60, 200), (40, 150, 160))
    alone = find_faces(picture, settings)

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda _: find_faces(picture, settings), range(8)))

    assert all(np.array_equal(boxes, alone) for boxes in together)


def test_a_crop_is_a_square_widened_by_the_margin_on_each_side() -> None:
    gray = np.arange(100, dtype=np.uint8)[None, :].repeat(100, axis=0)

    crop = crop_face(gray, np.array([40, 30, 20, 20]), margin=0.25)

    assert crop.shape == (30, 30)
    np.testing.assert_array_equal(crop[0], np.arange(35, 65))


@pytest.mark.parametrize("margin", [0.0, 0.25])
def test_a_turned_face_is_cut_out_upright(margin: float) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 1, (200, 300)), (0, 0), 4)
    gray = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    box = np.array([120, 70, 60, 60])
    turned = cv2.warpAffine(gray, cv2.getRotationMatrix2D((149.5, 99.5), -40.0, 1.0), (300, 200))  # clockwise

    crop = crop_face(turned, box, margin, 40.0)

    upright = crop_face(gray, box, margin)
    assert crop.shape == upright.shape
    assert np.abs(crop.astype(float) - upright).max() < 12
    assert np.abs(crop_face(turned, box, margin).astype(float) - upright).max() > 60


def test_a_turned_crop_over_the_edge_repeats_it() -> None:
    assert (crop_face(np.full((50, 50), 77, dtype=np.uint8), np.array([0, 0, 40, 40]), 0.5, 30.0) == 77).all()


def test_a_crop_over_the_edge_keeps_the_face_in_its_middle() -> None:
    gray = np.arange(100, dtype=np.uint8)[None, :].repeat(100, axis=0)

    crop = crop_face(gray, np.array([0, 80, 20, 20]), margin=0.5)

    assert crop.shape == (40, 40)
    np.testing.assert_array_equal(crop[0], [0] * 10 + list(range(30)))
