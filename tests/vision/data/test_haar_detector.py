import numpy as np
import pytest

from configs.inference_settings import InferenceSettings
from configs.settings import Settings
from vision.data import haar_detector
from vision.data.face_detection import find_faces
from vision.data.synthetic import EXPRESSIONS, draw_face


@pytest.fixture
def settings(small_settings: Settings) -> InferenceSettings:
    return small_settings.inference.model_copy(update={"detector": "haar"})


def test_what_few_windows_take_for_a_face_needs_an_eye(
    settings: InferenceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.full((300, 400), 90, dtype=np.uint8)
    picture[50:250, 100:300] = draw_face(EXPRESSIONS["happy"], 200, 2.0, np.random.default_rng(0))
    picture[116:146, 136:264] = np.median(picture[150:180, 160:240])  # no eyes
    with_eyes_only = find_faces(picture, settings)
    monkeypatch.setattr(haar_detector, "SURE_HITS", 1)

    assert len(with_eyes_only) == 0
    assert len(find_faces(picture, settings)) == 1
