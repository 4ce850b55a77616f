from typing import Any

import pytest

from configs.training_settings import PhaseSettings
from vision.training.optimizers import learning_rate


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("cosine", [0.0, 0.05, 0.1, 0.05, 0.0]), ("constant", [0.0, 0.05, 0.1, 0.1, 0.1])],
)
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(schedule: Any, expected: list[float]) -> None:
    phase = PhaseSettings(
        name="x", trainable=("all",), epochs=4, learning_rate=0.1, schedule=schedule, warmup_epochs=1, patience=1
    )

    rate: Any = learning_rate(phase, steps=10)

    assert [float(rate(step)) for step in (0, 5, 10, 25, 40)] == pytest.approx(expected, abs=1e-6)
