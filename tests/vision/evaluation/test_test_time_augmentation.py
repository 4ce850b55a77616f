import keras
import numpy as np
import pytest

from configs.settings import Settings
from vision.evaluation.test_time_augmentation import crop_margin, make_views, predict_views
from vision.model.classifier import build_classifier, predict


@pytest.fixture(scope="module")
def classifier(small_settings: Settings) -> keras.Model:
    keras.utils.set_random_seed(0)
    settings = small_settings.classifier.model_copy(update={"crop_size": 32, "backbone": "vgg_compact"})
    return build_classifier(settings, side=38, classes=7)


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 38, 38), dtype=np.uint8)


def test_ten_crop_is_the_middle_and_the_corners_each_also_mirrored(faces: np.ndarray) -> None:
    middle = slice(3, 35)

    seen = [view[:, middle, middle] for view in make_views(faces, 3, "ten_crop")]

    expected = [faces[:, t : t + 32, s : s + 32] for t, s in ((3, 3), (0, 0), (0, 6), (6, 0), (6, 6))]
    for number, crop in enumerate(expected):
        np.testing.assert_array_equal(seen[2 * number], crop)
        np.testing.assert_array_equal(seen[2 * number + 1], crop[:, :, ::-1])
    assert len(seen) == 10


def test_averaged_predictions_do_not_change_for_mirrored_faces(classifier: keras.Model, faces: np.ndarray) -> None:
    single = predict(classifier, faces, 5)

    averaged = predict_views(classifier, faces, 5, "flip")

    np.testing.assert_allclose(averaged, predict_views(classifier, faces[:, :, ::-1], 5, "flip"), rtol=1e-4, atol=1e-5)
    assert np.abs(single - averaged).max() > 1e-3


def test_the_margin_is_what_the_classifier_cuts_off(classifier: keras.Model, small_settings: Settings) -> None:
    assert crop_margin(classifier) == 3
    assert crop_margin(build_classifier(small_settings.classifier, side=32, classes=7)) == 0
