import zipfile

import cv2
import numpy as np
import pytest

from benchmarks.detection import find_pasted, measure_frame
from benchmarks.scenes import HEIGHT, WIDTH, draw_turned_faces, paste_faces
from configs.settings import Settings
from tests.conftest import PROJECT
from vision.data.synthetic import EXPRESSIONS, draw_face

ARCHIVE = PROJECT.parent / "shared" / "data" / "fer2013.zip"


def drawn_faces(count: int) -> list[np.ndarray]:
    return [draw_face(EXPRESSIONS["happy"], 48, 2.0, np.random.default_rng(seed)) for seed in range(count)]


def test_a_face_lies_in_the_square_that_its_scene_names() -> None:
    (face,) = drawn_faces(1)

    (scene,) = paste_faces([face], (96, 96), seed=0)

    x, y, side = scene.square
    assert (scene.picture.shape, side) == ((HEIGHT, WIDTH, 3), 96)
    expected = cv2.resize(face, (96, 96), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(scene.grey()[y : y + side, x : x + side], expected)


def test_a_face_turned_by_a_right_angle_lies_on_its_side_in_the_middle() -> None:
    (face,) = drawn_faces(1)

    (scene,) = draw_turned_faces([face], (96, 96), 90.0, seed=0)

    x, y, side = scene.square
    expected = np.rot90(cv2.resize(face, (96, 96)))
    assert np.abs(scene.grey()[y : y + side, x : x + side].astype(float) - expected).mean() < 8


def test_boxes_belong_to_the_pasted_face_or_are_counted(small_settings: Settings) -> None:
    scenes = list(paste_faces(drawn_faces(4), (200, 240), seed=0))

    found = find_pasted(scenes, small_settings.inference)

    assert found.share == 1.0
    assert len(found.milliseconds) == 4
    factor, right, below = measure_frame(scenes, found)
    assert 1 < factor < 2  # a drawn face does not fill its square
    assert max(abs(right), abs(below)) < 0.2


@pytest.mark.shared
@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"the real FER2013 is not at {ARCHIVE}")
def test_crops_are_framed_as_the_faces_of_fer2013(small_settings: Settings) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [name for name in archive.namelist() if name.startswith("images/train/happy/")][:20]
        faces = [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE) for name in names]
    scenes = list(paste_faces(faces, (100, 250), seed=0))

    found = find_pasted(scenes, small_settings.inference)

    factor, right, below = measure_frame(scenes, found)
    assert found.share > 0.9
    assert abs(factor - 1) < 0.06
    assert max(abs(right), abs(below)) < 0.03
