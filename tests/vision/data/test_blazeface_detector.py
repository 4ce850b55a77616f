import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from configs.settings import Settings
from tests.conftest import PROJECT
from vision.data import blazeface_detector
from vision.data.blazeface_detector import (
    LEVEL,
    SMALLEST,
    anchors,
    average_overlapping,
    decode,
    letterbox,
    measure_turns,
    plan_windows,
)
from vision.data.face_detection import check_detector, find_faces, search_faces
from vision.data.synthetic import EXPRESSIONS, draw_face

WITHOUT = """
import sys
import numpy as np
from configs.loading import load_settings
from vision.data.face_detection import find_faces
find_faces(np.zeros((64, 64), dtype=np.uint8), load_settings([], {}).inference)
print(sorted({"tensorflow", "keras", "zenml", "mlflow"} & sys.modules.keys()))
"""


@pytest.fixture
def settings(small_settings: Settings) -> InferenceSettings:
    return small_settings.inference.model_copy(update={"detector": "blazeface"})


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the network's file, which is read from there."""
    copy = tmp_path / "blazeface.onnx"
    copy.write_bytes(blazeface_detector.MODEL.read_bytes())
    monkeypatch.setattr(blazeface_detector, "MODEL", copy)
    blazeface_detector._network.cache_clear()
    yield copy
    blazeface_detector._network.cache_clear()


def picture_with(*places: tuple[int, int, int], width: int = 640, height: int = 360) -> np.ndarray:
    """A picture with a drawn face in each square of x, y and side."""
    picture = np.full((height, width), 90, dtype=np.uint8)
    for number, (x, y, side) in enumerate(places):
        picture[y : y + side, x : x + side] = draw_face(EXPRESSIONS["happy"], side, 2.0, np.random.default_rng(number))
    return picture


def test_anchors_lie_in_the_middle_of_their_cells_row_by_row() -> None:
    found = anchors() * 128

    assert found.shape == (896, 2)
    np.testing.assert_allclose(found[[0, 1, 2, 32, 511]], [[4, 4], [4, 4], [12, 4], [4, 12], [124, 124]])
    np.testing.assert_allclose(found[[512, 517, 518, 895]], [[8, 8], [8, 8], [24, 8], [120, 120]])


def test_boxes_are_decoded_from_their_anchors_and_unsure_ones_left_out() -> None:
    regressors, logits = np.zeros((896, 16), dtype=np.float32), np.full(896, -200, dtype=np.float32)
    regressors[2, :4], logits[2] = [4, -4, 64, 32], 200
    regressors[2, 4:12] = [-8, 4, 8, 4, 99, 99, 0, 12]  # the nose is not used
    logits[3] = 0.0

    rows, scores = decode(regressors, logits, 0.6)

    np.testing.assert_allclose(128 * rows, [[16, 0, 64, 32, 4, 8, 20, 8, 12, 16]])
    np.testing.assert_allclose(scores, [1.0])


def test_boxes_that_overlap_become_their_average_weighted_by_score() -> None:
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.9, 0.5, 0.2, 0.2], [0.53, 0.5, 0.2, 0.2], [0.2, 0.2, 0, 0]])

    found = average_overlapping(boxes, np.array([0.6, 0.7, 0.9, 0.5]))

    expected = [[0.518, 0.5, 0.2, 0.2, 0.9], [0.9, 0.5, 0.2, 0.2, 0.7], [0.2, 0.2, 0, 0, 0.5]]
    np.testing.assert_allclose(found, expected)
    assert average_overlapping(np.empty((0, 4)), np.empty(0)).shape == (0, 5)


def test_boxes_that_hardly_overlap_stay_apart() -> None:
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.62, 0.5, 0.2, 0.2]])  # a quarter of their union is shared

    assert len(average_overlapping(boxes, np.array([0.9, 0.8]))) == 2


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (960, 1280), (300, 1280), (48, 48), (1, 900)])
def test_each_face_that_is_not_too_small_lies_whole_and_large_enough_in_a_window(height: int, width: int) -> None:
    windows = list(plan_windows(height, width, 48))

    for side in range(48, min(height, width) + 1, 24):
        lefts = {*range(0, width - side + 1, 37), width - side}
        tops = {*range(0, height - side + 1, 37), height - side}
        for x, y in itertools.product(lefts, tops):
            assert any(
                left <= x and top <= y and x + side <= left + window and y + side <= top + window
                and side >= SMALLEST * window - 0.5
                for left, top, window in windows
            )  # fmt: skip


def test_small_pictures_are_searched_once_and_larger_ones_in_few_tiles() -> None:
    counts = [len(list(plan_windows(height, width, 48))) for height, width in ((240, 320), (480, 640), (960, 1280))]

    assert counts == [1, 7, 31]


def test_a_window_keeps_the_order_of_colours_and_is_black_outside_the_picture() -> None:
    picture = np.zeros((64, 128, 3), dtype=np.uint8)
    picture[..., 0] = 255  # red

    seen = letterbox(picture, (0, -32, 128))

    assert seen.shape == (128, 128, 3)
    np.testing.assert_array_equal(seen[64, 64], [1, -1, -1])
    assert (seen[:32] == -1).all()
    assert (seen[32:96, :, 0] == 1).all()
    assert (seen[96:] == -1).all()


def test_faces_that_are_too_small_are_not_returned(settings: InferenceSettings) -> None:
    picture = picture_with((40, 100, 100), (300, 40, 280))

    boxes = find_faces(picture, settings.model_copy(update={"min_face_pixels": 120}))

    assert len(find_faces(picture, settings)) == 2
    assert len(boxes) == 1
    assert boxes[0, 2] >= 120


def test_fifty_faces_are_found_once_each(settings: InferenceSettings) -> None:
    places = [(20 + 125 * column, 20 + 150 * row, 120) for row in range(5) for column in range(10)]

    boxes = find_faces(picture_with(*places, width=1280, height=800), settings)

    middles = np.array(sorted((x + side / 2, y + side / 2) for x, y, side in places))
    found = boxes[:, :2] + boxes[:, 2:] / 2
    assert len(boxes) == 50
    assert np.abs(middles[:, None] - found).max(axis=2).min(axis=1).max() < 30


@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_face_that_the_border_cuts_has_a_square_inside_the_picture(
    corner: tuple[int, int], settings: InferenceSettings
) -> None:
    right, bottom = corner
    whole = picture_with((220, 80, 200))
    rows, columns = slice(0, 250) if bottom else slice(110, 360), slice(0, 390) if right else slice(250, 640)
    cut = whole[rows, columns]

    (box,) = find_faces(np.ascontiguousarray(cut), settings)

    assert box[2] == box[3]
    assert (box[:2] >= 0).all()
    assert box[0] + box[2] <= cut.shape[1]
    assert box[1] + box[3] <= cut.shape[0]


@pytest.mark.parametrize("degrees", [-60, 60])
def test_a_face_turned_by_60_degrees_is_found_where_it_is(degrees: int, settings: InferenceSettings) -> None:
    turning = cv2.getRotationMatrix2D((450, 180), degrees, 1.0)
    picture = cv2.warpAffine(picture_with((350, 80, 200)), turning, (640, 360), borderValue=90)

    boxes = find_faces(picture, settings)

    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:] / 2, [[450, 180]], atol=35)


@pytest.mark.parametrize(("degrees", "turn"), [(0, 0), (8, 0), (-8, 0), (25, 15), (-70, -60), (180, 170)])
def test_a_face_is_turned_back_to_the_tilt_that_training_faces_have(degrees: float, turn: float) -> None:
    angle = np.radians(degrees)
    turning = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # clockwise, as y points down
    points = np.array([[-1, -1], [1, -1], [0, 1]]) @ turning.T

    np.testing.assert_allclose(measure_turns(points.reshape(1, 6)), [turn], atol=1e-9)
    assert LEVEL == 10


@pytest.mark.parametrize("degrees", [-60, 60])
def test_a_turned_face_is_found_with_its_turn(degrees: int, settings: InferenceSettings) -> None:
    turning = cv2.getRotationMatrix2D((450, 180), degrees, 1.0)
    picture = cv2.warpAffine(picture_with((350, 80, 200)), turning, (640, 360), borderValue=90)

    found = search_faces(picture, settings)

    np.testing.assert_allclose(found.turns, [-np.sign(degrees) * (60 - LEVEL)], atol=25)  # its face is a drawing


def test_a_face_in_the_dark_is_found(settings: InferenceSettings) -> None:
    picture = picture_with((350, 80, 200))

    boxes = find_faces((picture * 0.1).astype(np.uint8), settings)

    np.testing.assert_allclose(boxes, find_faces(picture, settings), atol=20)


def test_grey_levels_are_searched_as_the_same_grey_in_colours(settings: InferenceSettings) -> None:
    picture = picture_with((350, 80, 200))

    colours = np.repeat(picture[..., None], 3, axis=2)

    np.testing.assert_array_equal(find_faces(picture, settings), find_faces(colours, settings))


def test_an_altered_network_is_refused_with_the_way_out(model_file: Path, settings: InferenceSettings) -> None:
    content = bytearray(model_file.read_bytes())
    content[-1] ^= 1
    model_file.write_bytes(content)

    with pytest.raises(UserError, match=r"blazeface\.onnx is not the file that belongs to this version.*git checkout"):
        check_detector(settings)
    check_detector(settings.model_copy(update={"detector": "haar"}))


def test_a_missing_network_is_refused_with_the_way_out(model_file: Path, settings: InferenceSettings) -> None:
    model_file.unlink()

    with pytest.raises(UserError, match=r"blazeface\.onnx cannot be read: No such file.*--inference\.detector haar"):
        check_detector(settings)


def test_the_notice_names_the_file_that_lies_beside_it() -> None:
    notice = blazeface_detector.MODEL.with_suffix(".md").read_text(encoding="utf-8")

    assert blazeface_detector.MODEL_SHA256 in notice
    assert "Apache License 2.0" in notice


def test_faces_are_found_without_the_large_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
