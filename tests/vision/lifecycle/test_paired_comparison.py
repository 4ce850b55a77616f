import numpy as np
import pytest

from configs.lifecycle_settings import PromotionSettings
from configs.settings import Settings
from vision.lifecycle.paired_comparison import PairedComparison, compare_answers, mcnemar


@pytest.fixture
def settings(small_settings: Settings) -> PromotionSettings:
    return small_settings.promotion


def test_mcnemars_p_is_that_of_a_fair_coin() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 * 0.5**5)
    assert mcnemar(5, 0) == mcnemar(0, 5)


def test_only_faces_that_one_of_the_two_is_right_on_are_counted_for_it(settings: PromotionSettings) -> None:
    labels = np.array([0, 0, 1, 1, 1])
    champion, challenger = np.array([0, 1, 1, 0, 0]), np.array([0, 0, 0, 1, 0])

    found = compare_answers(champion, challenger, labels, 2, settings, seed=1)

    assert (found.faces, found.only_champion_right, found.only_challenger_right) == (5, 1, 2)
    assert found.mcnemar_p == mcnemar(1, 2)
    assert found.gains[0].gain == pytest.approx(0.2)


def test_without_faces_there_is_nothing_to_compare(settings: PromotionSettings) -> None:
    nothing = np.zeros(0, dtype=int)

    assert compare_answers(nothing, nothing, nothing, 2, settings, seed=1) == PairedComparison()
