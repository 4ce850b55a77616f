from itertools import combinations, pairwise

import numpy as np
import pytest

from vision.inference import overlay as annotation
from vision.inference.overlay import annotate_picture, fit_picture

Area = tuple[float, float, float, float]
WHITE = np.full((360, 640, 3), 255, dtype=np.uint8)


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch) -> list[Area]:
    """The areas of the labels, in the order in which they are drawn."""
    drawn: list[Area] = []
    draw_label = annotation._draw_label

    def record(*arguments: object) -> Area:
        drawn.append(draw_label(*arguments))  # type: ignore[arg-type]
        return drawn[-1]

    monkeypatch.setattr(annotation, "_draw_label", record)
    return drawn


def overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def annotate(boxes: list[list[int]], label: str = "surprise 100%", picture: np.ndarray = WHITE) -> np.ndarray:
    colors = [(0, 158, 115)] * len(boxes)
    return np.asarray(annotate_picture(picture, np.array(boxes), [label] * len(boxes), colors))


@pytest.mark.parametrize(
    ("shape", "fitted"),
    [((2000, 4000), (640, 1280)), ((720, 1280), (720, 1280)), ((48, 60), (240, 300)), ((100, 2000), (64, 1280))],
)
def test_pictures_are_shrunk_to_be_handy_and_enlarged_to_be_readable(
    shape: tuple[int, int], fitted: tuple[int, int]
) -> None:
    picture, scale = fit_picture(np.zeros((*shape, 3), dtype=np.uint8))

    assert picture.shape[:2] == fitted
    assert scale == pytest.approx(fitted[1] / shape[1])


@pytest.mark.parametrize(
    "box", [[0, 0, 40, 40], [600, 0, 40, 40], [0, 320, 40, 40], [600, 320, 40, 40], [0, 0, 360, 360]]
)
def test_labels_are_not_cut_off_at_the_edges(box: list[int], areas: list[Area]) -> None:
    annotate([box])

    (area,) = areas
    assert min(area) >= 0
    assert area[2] <= 640
    assert area[3] <= 360


def test_labels_of_a_crowd_stay_off_each_other(areas: list[Area]) -> None:
    annotate([[x, y, 50, 50] for y in (60, 180, 280) for x in range(20, 600, 80)])

    assert not [pair for pair in combinations(areas, 2) if overlap(*pair)]


def test_text_grows_with_the_face_but_stays_readable(areas: list[Area]) -> None:
    annotate([[20, 100, 30, 30]])
    annotate([[20, 100, 120, 120]])
    annotate([[20, 100, 220, 220]])

    heights = [bottom - top for _, top, _, bottom in areas]
    assert heights[0] >= 12
    assert all(lower < higher for lower, higher in pairwise(heights))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_frame_stands_out_from_any_background(level: int) -> None:
    picture = np.full((360, 640, 3), level, dtype=np.uint8)

    across = annotate([[200, 100, 150, 150]], picture=picture)[180, 190:215].astype(int)

    assert np.abs(np.diff(across, axis=0)).max() > 100


def test_the_picture_itself_is_left_as_it_is() -> None:
    picture = WHITE.copy()

    annotate([[200, 100, 150, 150]], picture=picture)

    np.testing.assert_array_equal(picture, WHITE)
