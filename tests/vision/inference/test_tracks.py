import numpy as np
import pytest

from configs.inference_settings import FaceTrackingSettings
from vision.data.boxes import overlap
from vision.inference.tracks import FaceFollower

SETTINGS = FaceTrackingSettings(min_overlap=0.2, max_gap_seconds=2.0, smoothing_seconds=1.0)
HAPPY, SAD = [0.9, 0.1], [0.1, 0.9]


def box(x: float, side: float = 100, y: float = 50) -> list[float]:
    return [x, y, side, side]


def follow(*frames: tuple[float, list[list[float]]], settings: FaceTrackingSettings = SETTINGS) -> list[list[int]]:
    """Return the numbers of each frame's faces."""
    follower = FaceFollower(settings)
    numbers = []
    for seconds, boxes in frames:
        found = np.array(boxes).reshape(-1, 4)
        numbers.append(follower.follow(seconds, found, np.full((len(found), 2), 0.5))[0].tolist())
    return numbers


def smooth(*answers: tuple[float, list[float]], smoothing_seconds: float = 1.0) -> np.ndarray:
    """Return the smoothed probabilities of one face."""
    follower = FaceFollower(SETTINGS.model_copy(update={"smoothing_seconds": smoothing_seconds}))
    return np.concatenate([follower.follow(s, np.array([box(0)]), np.array([answer]))[1] for s, answer in answers])


def test_a_face_keeps_its_number_when_others_come_and_the_order_changes() -> None:
    numbers = follow((0.0, [box(200)]), (0.5, [box(0), box(210)]), (1.0, [box(5), box(220), box(500)]))

    assert numbers == [[1], [2, 1], [2, 1, 3]]


def test_two_faces_that_cross_keep_their_numbers() -> None:
    places = [(100 + 30 * step, 400 - 30 * step) for step in range(11)]

    numbers = follow(*((0.1 * step, [box(right), box(left)]) for step, (right, left) in enumerate(places)))

    assert numbers == [[1, 2]] * len(places)


def test_a_face_that_is_hidden_while_another_passes_keeps_its_number() -> None:
    places = [(100 + 30 * step, 400 - 30 * step) for step in range(11)]
    frames = [(0.1 * step, [box(right), box(left)]) for step, (right, left) in enumerate(places)]
    frames[5] = (0.5, [box(places[5][0])])  # the second is behind the first

    assert follow(*frames)[6:] == [[1, 2]] * 5


def test_a_face_keeps_its_number_over_a_short_gap_and_not_over_a_long_one() -> None:
    face, nobody = [box(100)], []

    assert follow((0.0, face), (1.0, nobody), (2.0, face)) == [[1], [], [1]]
    assert follow((0.0, face), (1.0, nobody), (2.1, face)) == [[1], [], [2]]


def test_a_face_elsewhere_is_another_one() -> None:
    assert follow((0.0, [box(0)]), (0.5, [box(99)])) == [[1], [2]]


def test_a_face_that_moves_on_through_a_gap_is_found_where_it_is_expected() -> None:
    numbers = follow((0.0, [box(0)]), (0.2, [box(40)]), (0.4, [box(80)]), (0.6, []), (0.8, []), (1.0, [box(200)]))

    assert numbers == [[1], [1], [1], [], [], [1]]


def test_probabilities_are_smoothed_by_the_time_that_passed() -> None:
    once = smooth((0.0, HAPPY), (1.0, SAD))[-1]
    in_steps = smooth((0.0, HAPPY), (0.25, SAD), (0.5, SAD), (0.75, SAD), (1.0, SAD))[-1]

    assert once[0] == pytest.approx(0.1 + 0.8 * np.exp(-1))
    np.testing.assert_allclose(in_steps, once)


def test_without_smoothing_probabilities_stay_as_they_are() -> None:
    np.testing.assert_allclose(smooth((0.0, HAPPY), (0.1, SAD), smoothing_seconds=0.0), [HAPPY, SAD])


def test_the_overlap_is_the_shared_part_of_the_union() -> None:
    shared = overlap(
        np.array([0, 0, 10, 10]), np.array([[0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10], [0, 0, 0, 0]])
    )

    np.testing.assert_allclose(shared, [1, 1 / 3, 0, 0])
