import cv2
import numpy as np
import pytest

from configs.settings import Settings
from configs.training_settings import EvaluationSettings
from vision.data.faces import FaceSet
from vision.evaluation import robustness
from vision.evaluation.robustness import SLICES, Robustness, SliceScore, choose_evenly, score_slices


@pytest.fixture
def images() -> np.ndarray:
    """Two smooth faces of 48 pixels, whose levels rise to the right and to the bottom."""
    ramp = np.add.outer(np.arange(48), 2 * np.arange(48))
    return np.stack([ramp + 20, ramp + 60]).astype(np.uint8)


@pytest.fixture
def settings(small_settings: Settings) -> EvaluationSettings:
    return small_settings.evaluation.model_copy(update={"slice_faces": 30})


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_changes_the_faces_and_neither_their_form_nor_the_originals(name: str, images: np.ndarray) -> None:
    before = images.copy()

    changed = SLICES[name](images)

    assert (changed.shape, changed.dtype) == (images.shape, np.uint8)
    assert all((one != other).any() for one, other in zip(changed, before, strict=True))
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_is_the_same_whenever_it_is_made(name: str, images: np.ndarray) -> None:
    np.testing.assert_array_equal(SLICES[name](images), SLICES[name](images))


def test_light_scales_the_grey_levels_and_ends_at_white() -> None:
    faces = np.array([[[0, 100], [160, 200]]], dtype=np.uint8)

    assert robustness.darken(faces).tolist() == [[[0, 50], [80, 100]]]
    assert robustness.brighten(faces).tolist() == [[[0, 150], [240, 255]]]


def test_a_shift_of_48_pixels_is_4_to_the_right(images: np.ndarray) -> None:
    shifted = robustness.shift(images)

    np.testing.assert_array_equal(shifted[:, :, 4:], images[:, :, :-4])
    np.testing.assert_array_equal(shifted[:, :, :4], np.repeat(images[:, :, :1], 4, axis=2))


def test_a_covered_half_is_grey_and_the_other_is_untouched(images: np.ndarray) -> None:
    lower, upper = robustness.cover_lower_half(images), robustness.cover_upper_half(images)

    assert set(np.unique(lower[:, 24:])) == set(np.unique(upper[:, :24])) == {128}
    np.testing.assert_array_equal(lower[:, :24], images[:, :24])
    np.testing.assert_array_equal(upper[:, 24:], images[:, 24:])


def test_a_rotation_turns_about_the_middle_by_15_degrees() -> None:
    face = np.zeros((1, 49, 49), dtype=np.uint8)
    face[0, 24, 40:45] = 255  # to the right of the middle

    rows, columns = np.nonzero(robustness.rotate(face)[0] > 100)

    angle = np.degrees(np.arctan2(24 - rows.mean(), columns.mean() - 24))
    assert angle == pytest.approx(15, abs=2)


def test_blur_and_half_the_resolution_take_away_fine_lines_only() -> None:
    lines = np.tile(np.array([0, 255], dtype=np.uint8), (1, 48, 24))

    assert robustness.halve_resolution(lines).std() < 1
    assert robustness.blur(lines)[:, 8:-8, 8:-8].std() < 10
    assert robustness.blur(lines).mean() == pytest.approx(127.5, abs=2)


def test_noise_has_the_strength_that_is_named() -> None:
    grey = np.full((4, 48, 48), 128, dtype=np.uint8)

    assert robustness.add_noise(grey).std() == pytest.approx(20, abs=0.5)


def test_jpeg_is_of_quality_30(images: np.ndarray) -> None:
    _, encoded = cv2.imencode(".jpg", images[0], [cv2.IMWRITE_JPEG_QUALITY, 30])

    np.testing.assert_array_equal(robustness.compress(images)[0], cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))


def test_chosen_faces_keep_the_shares_of_the_classes_and_follow_the_seed() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [600, 300, 100]))

    chosen = choose_evenly(labels, 100, seed=1)

    assert np.bincount(labels[chosen]).tolist() == [60, 30, 10]
    assert len(set(chosen)) == 100
    assert (choose_evenly(labels, 100, seed=2) != chosen).any()
    assert choose_evenly(labels, 5000, seed=1).tolist() == list(range(1000))


def answer_by_brightness(images: np.ndarray) -> np.ndarray:
    """Class 1 for a bright face, class 0 for any other."""
    return np.eye(7)[(images.mean(axis=(1, 2)) > 100).astype(int)]


@pytest.fixture
def scored(prepared: FaceSet, settings: EvaluationSettings) -> tuple[Robustness, FaceSet]:
    """The scores of a model that a face's light decides, and the faces, on which it is always right."""
    table = prepared.table.copy()
    chosen = answer_by_brightness(prepared.images).argmax(axis=1)
    table["label"] = [prepared.class_names[code] for code in chosen]
    faces = FaceSet(prepared.name, prepared.form, prepared.class_names, prepared.images, table)
    return score_slices(answer_by_brightness, faces, answer_by_brightness(faces.images), settings, seed=1), faces


def test_a_slice_is_scored_against_the_same_faces_unchanged(scored: tuple[Robustness, FaceSet]) -> None:
    found, faces = scored
    slices = {one.name: one for one in found.slices}

    rows = choose_evenly(faces.labels, 30, seed=1)
    expected = np.mean(answer_by_brightness(robustness.darken(faces.images[rows])).argmax(axis=1) == faces.labels[rows])
    assert (found.faces, found.accuracy, found.macro_f1) == (30, 1.0, 1.0)
    assert slices["mirrored"].accuracy == 1.0
    assert slices["darker"].accuracy == pytest.approx(expected)
    assert slices["darker"].macro_f1 < 1.0
    gain = slices["darker"].changes[0]
    assert gain.gain == pytest.approx(expected - 1.0)
    assert gain.low < gain.gain < gain.high
    assert [(gain.low, gain.high) for gain in slices["mirrored"].changes] == [(0, 0), (0, 0)]


def test_the_metrics_name_every_slice_and_the_worst_accuracy(scored: tuple[Robustness, FaceSet]) -> None:
    found = scored[0]
    numbers = found.numbers()

    worst = min(found.slices, key=lambda one: one.accuracy)
    assert found.worst_first[0] == worst
    assert numbers["test_slice/worst_accuracy"] == numbers[f"test_slice/{worst.name}_accuracy"] == worst.accuracy
    assert numbers["test_slice/darker_macro_f1_change_low"] == found.slices[1].changes[1].low
    assert isinstance(found.slices[1], SliceScore)
    assert sum(name.endswith("_accuracy_change") for name in numbers) == len(SLICES) == 11
