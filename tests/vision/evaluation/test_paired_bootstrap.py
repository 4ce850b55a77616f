import numpy as np
import pytest

from configs.lifecycle_settings import PromotionSettings
from configs.settings import Settings
from vision.evaluation.paired_bootstrap import paired_bootstrap


@pytest.fixture
def settings(small_settings: Settings) -> PromotionSettings:
    return small_settings.promotion


def test_the_paired_interval_is_that_of_a_paired_difference(settings: PromotionSettings) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 3000)
    old = np.where(random.random(3000) < 0.6, labels, (labels + 1) % 4)
    new = np.where(random.random(3000) < 0.2, labels, old)  # repairs some of the old one's mistakes, makes none
    difference = (new == labels).astype(float) - (old == labels)

    gain = paired_bootstrap(old, new, labels, 4, settings.model_copy(update={"bootstrap_samples": 5000}), seed=1)[0]

    half = 1.96 * difference.std() / np.sqrt(3000)
    assert gain.gain == pytest.approx(difference.mean())
    assert gain.low == pytest.approx(difference.mean() - half, abs=0.002)
    assert gain.high == pytest.approx(difference.mean() + half, abs=0.002)
