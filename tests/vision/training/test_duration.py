import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.loading import load_settings
from configs.settings import Settings
from configs.training_settings import PhaseSettings
from tests.conftest import PROJECT
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.classifier import build_classifier
from vision.training import duration
from vision.training.duration import (
    COMPACT,
    QUICK,
    PhaseWork,
    Plan,
    TellDuration,
    count_work,
    name_shorter_recipe,
    plan_training,
    say_seconds,
)
from vision.training.recipe import Recipe

PLAN = Plan(
    works=(PhaseWork(batches=10, batch=1.0, epoch=12.0, features=50.0), PhaseWork(10, 2.0, 24.0, 6.0)),
    epochs=(3, 2),
    resumed=False,
    shorter="; shorter",
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose last number is the time."""
    now = [0.0]
    monkeypatch.setattr(duration.time, "monotonic", lambda: now[-1])
    return now


def train(told: TellDuration, clock: list[float], seconds: list[float]) -> None:
    """Let batches of these seconds pass, as one epoch."""
    for batch, length in enumerate(seconds):
        told.on_train_batch_begin(batch)
        clock.append(clock[-1] + length)
        told.on_train_batch_end(batch)
    told.on_epoch_end(0)


def test_a_batchs_time_without_the_first_is_scaled_to_all_phases(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vision"):
        train(TellDuration(PLAN), clock, [60.0, 1.0, 2.0, 3.0, 9.0])

    # 2 s for 1.0 of work, of which 3 * 12 + 2 * 24 + 6 are ahead; the first phase's features are computed already
    line = "this training takes about 3 min on this machine (5 epochs of 10 batches and frozen features, measured on 3"
    assert [line in record.getMessage() for record in caplog.records] == [True]
    assert "shorter" not in caplog.text


def test_an_epoch_of_two_batches_is_enough(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vision"):
        train(TellDuration(PLAN), clock, [60.0, 2.0])

    assert "about 3 min" in caplog.text
    assert "measured on 1 batches" in caplog.text


def test_over_an_hour_it_names_a_shorter_recipe(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vision"):
        train(TellDuration(replace(PLAN, resumed=True)), clock, [1.0] + [100.0] * 3)

    assert "the rest of this training takes about 2.5 h" in caplog.text
    assert caplog.text.rstrip().endswith("; shorter")


@pytest.fixture(scope="module")
def plans(prepared: FaceSet, small_settings: Settings) -> Any:
    """Return a function that plans a training of VGG-19 in two phases, the second of all its layers."""
    classifier = build_classifier(small_settings.classifier, 32, 7)
    first = small_settings.training.phases[0].model_copy(update={"epochs": 3})
    phases = first, first.model_copy(update={"trainable": ("all",), "epochs": 5})

    def plan(phase: int, finished: int, **changes: Any) -> Plan:
        training = small_settings.training.model_copy(update={"phases": phases, **changes})
        recipe = Recipe(small_settings.classifier, small_settings.augmentation, training, 3)
        return plan_training(classifier, recipe, prepared, phase, finished)

    return plan


def test_a_resumed_training_plans_what_is_left_of_it(plans: Any) -> None:
    begun, resumed, second = plans(0, 0), plans(0, 2), plans(1, 1)

    assert (begun.epochs, begun.resumed) == ((3, 5), False)
    assert (resumed.epochs, resumed.resumed) == ((1, 5), True)
    assert (second.epochs, second.resumed) == ((4,), True)


def test_frozen_layers_cost_a_forward_pass_or_features_once(plans: Any, prepared: FaceSet) -> None:
    cached, again = plans(0, 0, cached_views=2).works[0], plans(0, 0, cached_views=0).works[0]
    everything = plans(0, 0).works[1]

    of_head = cached.batch / 32 / 3  # multiplications of one face
    frozen = everything.batch / 32 / 3 - of_head
    assert again.batch == pytest.approx(32 * (frozen + 3 * of_head))
    assert (again.features, everything.features) == (0, 0)
    faces = 2 * len(prepared.rows(TRAIN)) + len(prepared.rows(VALIDATION))
    assert cached.features == pytest.approx(frozen * faces)


def test_multiplications_are_those_of_the_kernels_at_every_place(prepared: FaceSet, small_settings: Settings) -> None:
    classifier = build_classifier(small_settings.classifier, 32, 7)  # 4 channels first, 32 pixels a side
    phase: PhaseSettings = small_settings.training.phases[0].model_copy(update={"trainable": ("all",)})

    work = count_work(classifier, phase, small_settings.training, prepared)

    sides, channels, before, total = (32, 16, 8, 4, 2), (4, 8, 16, 32, 32), 3, 0
    for side, width, convolutions in zip(sides, channels, (2, 2, 4, 4, 4), strict=True):
        for _ in range(convolutions):
            total += side * side * 9 * before * width
            before = width
    total += 32 * 16 + 16 * 7
    assert work.batch == 32 * 3 * total
    assert work.epoch == work.batches * work.batch + len(prepared.rows(VALIDATION)) * total


@pytest.fixture
def recipes() -> dict[str, Settings]:
    return {
        name: load_settings([PROJECT / "configs" / f"{name}.yaml"] if name != "training" else [], {})
        for name in ("training", "compact", "quick")
    }


def test_only_shorter_recipes_are_named(recipes: dict[str, Settings]) -> None:
    named = {
        name: name_shorter_recipe(settings.classifier.backbone, sum(p.epochs for p in settings.training.phases))
        for name, settings in recipes.items()
    }

    assert all(recipe in named["training"] for recipe in (QUICK, COMPACT))
    assert QUICK in named["compact"]
    assert COMPACT not in named["compact"]
    assert named["quick"] == ""


def test_the_recipes_that_are_named_exist() -> None:
    for recipe in (QUICK, COMPACT):
        assert Path(PROJECT, recipe.split()[1]).is_file()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "about 1 s"), (42, "about 42 s"), (2580, "about 43 min"), (12600, "about 3.5 h")],
)
def test_times_are_said_in_the_unit_that_fits(seconds: float, said: str) -> None:
    assert say_seconds(seconds) == said
