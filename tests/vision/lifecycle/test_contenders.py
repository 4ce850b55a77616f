from dataclasses import dataclass

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.evaluation.robustness import choose_evenly
from vision.lifecycle.gate import GateRules, measure_contender, measure_latency

NAMES = 7


@dataclass
class Toy:
    """A loaded version whose classifier answers the same whatever it sees."""

    answer: tuple[float, ...]
    class_names: tuple[str, ...]
    version: str = "4"
    megabytes: float = 1.5

    @property
    def classifier(self) -> keras.Model:
        inputs = keras.Input((None, None, 1))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        constant = keras.initializers.Constant(np.array(self.answer))
        return keras.Model(
            inputs, keras.layers.Dense(NAMES, kernel_initializer="zeros", bias_initializer=constant)(pooled)
        )


@pytest.fixture
def rules(small_settings: Settings) -> GateRules:
    return GateRules(promotion=small_settings.promotion, evaluation=small_settings.evaluation, seed=1)


def test_probabilities_stand_in_the_order_of_the_test_faces_classes(drawn: FaceSet, rules: GateRules) -> None:
    shares = tuple(round(0.01 * code, 2) for code in range(NAMES))
    reordered = Toy(shares[::-1], drawn.class_names[::-1])

    found = measure_contender(reordered, drawn.take(np.arange(3)), rules)

    np.testing.assert_allclose(found.probabilities, [shares] * 3, atol=1e-6)
    assert (found.version, found.megabytes) == ("4", 1.5)


def test_slices_are_measured_only_where_there_is_a_floor_for_them(drawn: FaceSet, rules: GateRules) -> None:
    toy, test = Toy((0.1,) * (NAMES - 1) + (0.4,), drawn.class_names), drawn.take(np.arange(70))
    floored = rules.promotion.model_copy(update={"min_worst_slice_accuracy": 0.1})

    off = measure_contender(toy, test, rules)
    on = measure_contender(toy, test, rules.model_copy(update={"promotion": floored}))

    assert off.worst_slice is None
    chosen = choose_evenly(test.labels, rules.evaluation.slice_faces, rules.seed)
    assert on.worst_slice is not None
    assert on.worst_slice.accuracy == (test.labels[chosen] == NAMES - 1).mean()


def test_a_model_of_other_classes_cannot_be_compared(drawn: FaceSet, rules: GateRules) -> None:
    other = Toy((0.1,) * NAMES, (*drawn.class_names[:-1], "contempt"))

    with pytest.raises(UserError, match=r"version 4 knows .*contempt.*under another tracking\.model_name"):
        measure_contender(other, drawn, rules)


def test_probabilities_that_are_not_numbers_are_refused(drawn: FaceSet, rules: GateRules) -> None:
    broken = Toy((float("nan"),) * NAMES, drawn.class_names)

    with pytest.raises(UserError, match="version 4 gives probabilities that are not numbers"):
        measure_contender(broken, drawn.take(np.arange(3)), rules)


def test_latency_is_measured_in_milliseconds(drawn: FaceSet) -> None:
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))

    assert 0.01 < measure_latency(model, drawn.images[0], samples=20) < 1000
