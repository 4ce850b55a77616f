from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import softmax

from configs.errors import UserError
from configs.settings import Settings
from vision.evaluation.grad_cam import grad_cam
from vision.evaluation.test_time_augmentation import crop_margin
from vision.model.classifier import build_classifier, load_safely, predict, with_temperature
from vision.model.ensemble import average_classifiers


@pytest.fixture(scope="module")
def members(small_settings: Settings) -> list[keras.Model]:
    keras.utils.set_random_seed(0)
    compact = small_settings.classifier.model_copy(update={"backbone": "vgg_compact", "width": 0.25, "crop_size": 44})
    wider = compact.model_copy(update={"width": 0.5})
    return [build_classifier(settings, side=48, classes=7) for settings in (compact, wider)]


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)


def test_an_ensemble_gives_the_mean_of_calibrated_probabilities_and_survives_saving(
    members: list[keras.Model], faces: np.ndarray, tmp_path: Path
) -> None:
    first, second = members
    average_classifiers({"a": first, "b": with_temperature(second, 2.0)}).save(tmp_path / "mean.keras")

    expected = (softmax(predict(first, faces, 4), axis=1) + softmax(predict(second, faces, 4) / 2.0, axis=1)) / 2
    answers = softmax(predict(load_safely(tmp_path / "mean.keras"), faces, 4), axis=1)
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_an_ensemble_can_be_shown_in_several_views_and_be_explained(
    members: list[keras.Model], faces: np.ndarray
) -> None:
    ensemble = with_temperature(average_classifiers(dict(zip("ab", members, strict=True))), 1.5)

    assert crop_margin(ensemble) == 2
    assert grad_cam(ensemble, faces, np.arange(4)).shape == (4, 48, 48)


def test_members_of_another_kind_are_named(members: list[keras.Model], small_settings: Settings) -> None:
    compact = small_settings.classifier.model_copy(update={"backbone": "vgg_compact", "width": 0.25, "crop_size": 40})
    other = build_classifier(compact, side=48, classes=7)

    with pytest.raises(UserError, match=r"b has 7 classes .* cropped by \(\(4, 4\), \(4, 4\)\), a 7 classes"):
        average_classifiers({"a": members[0], "b": other})
    with pytest.raises(UserError, match="two classifiers or more"):
        average_classifiers({"a": other})
