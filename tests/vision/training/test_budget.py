import logging
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from configs.training_settings import MOST_EPOCHS, PhaseSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.classifier import build_classifier
from vision.training import budget
from vision.training.budget import (
    MARGIN,
    Afterwards,
    Cost,
    Rehearsal,
    estimate,
    plan_epochs,
    stretch,
    take_share,
    with_epochs,
)
from vision.training.duration import count_multiplications
from vision.training.history import TrainingHistory, TrainingStoppedError
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths

pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")
toy = pytest.mark.usefixtures("with_toy_backbone", "without_curves", "eagerly")

EVEN = dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 1.0)
PLANNED = (3, 2)


def recipe(settings: Settings, **changes: Any) -> Recipe:
    training = settings.training.model_copy(update=changes)
    return Recipe(settings.classifier, settings.augmentation, training, 3)


def random_settings(settings: Settings) -> Settings:
    """One phase with all that draws at random, and averaged weights."""
    changes = {
        "imbalance": "oversample",
        "ema_momentum": 0.9,
        "cached_views": 0,
        "phases": settings.training.phases[:1],
    }
    classifier = settings.classifier.model_copy(update={"dropout": 0.3})
    augmentation = settings.augmentation.model_copy(update={"mixup": 0.2, "rotation_degrees": 10.0, "flip": True})
    training = settings.training.model_copy(update=changes)
    return settings.model_copy(update={"classifier": classifier, "augmentation": augmentation, "training": training})


def train(faces: FaceSet, tried: Recipe, folder: Path, stop_in: int = 0) -> tuple[keras.Model, TrainingHistory]:
    def hook(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == stop_in:
            raise KeyboardInterrupt

    paths = TrainingPaths(folder / "run" / "best.keras", folder / "features", folder / "states")
    return train_classifier(TrainingData(faces, EVEN), tried, paths, hook)


@pytest.mark.parametrize(
    ("seconds", "fit"),
    [
        (100, (4, 8)),  # as given
        (102, (4, 8)),  # 4 and 9 would be 107
        (56, (2, 4)),
        (20, ()),
        (21, (1, 1)),
        (1_000_000, (MOST_EPOCHS, MOST_EPOCHS)),
    ],
)
def test_phases_are_stretched_by_one_factor_to_at_least_an_epoch_each(seconds: float, fit: tuple[int, ...]) -> None:
    assert stretch((4, 8), Cost(once=4.0, epochs=(10.0, 7.0)), seconds) == fit


def test_a_shorter_phase_warms_up_for_less_and_a_longer_one_is_more_patient(small_settings: Settings) -> None:
    changes = {"epochs": 10, "warmup_epochs": 2.0, "patience": 3}
    phase = small_settings.training.phases[0].model_copy(update=changes)

    short, long = with_epochs(recipe(small_settings, phases=(phase, phase), minutes=9.0), (1, 25)).training.phases

    assert (short.epochs, short.warmup_epochs, short.patience) == (1, 0.2, 3)
    assert (long.epochs, long.warmup_epochs, long.patience) == (25, 2.0, 8)
    for planned in (short, long):  # a reproduction reads them back
        assert PhaseSettings(**planned.model_dump()) == planned


def test_an_epoch_of_all_faces_costs_as_many_times_as_much_and_is_written_once(
    prepared: FaceSet, small_settings: Settings
) -> None:
    network = build_classifier(small_settings.classifier, 32, 7)
    phase = small_settings.training.phases[0].model_copy(update={"trainable": ("all",)})
    tried = recipe(small_settings, phases=(phase,), cached_views=2, batch_size=16)
    few = prepared.take(np.concatenate([prepared.rows(TRAIN)[:16], prepared.rows(VALIDATION)[:1]]))
    rehearsal = Rehearsal(few, network, seconds=7.0, epochs=(1.0,), writes=(5.0,), forward=1e-9)

    cost = estimate(rehearsal, TrainingData(prepared, EVEN, (network,)), tried, Afterwards(100, 11.0))

    batches = len(prepared.rows(TRAIN)) // 16
    assert cost.epochs[0] == pytest.approx(batches + 5.0, rel=0.1)
    teaching = 2 * len(prepared.rows(TRAIN))
    assert cost.once == pytest.approx(18.0 + 1e-9 * (100 + teaching) * count_multiplications(network))


def test_a_share_of_the_faces_has_every_class(prepared: FaceSet) -> None:
    some = take_share(prepared, 0.05)

    for split in (TRAIN, VALIDATION):
        assert set(some.labels[some.rows(split)]) == set(range(7))
    assert len(some) < 0.3 * len(prepared)
    assert len(take_share(prepared, 0.5).rows(TRAIN)) == -(-len(prepared.rows(TRAIN)) // 2)


class Trainer:
    """Stands in for train_classifier: its epochs take the seconds given, for one short training after the other."""

    def __init__(self, network: keras.Model, *seconds: float, stops: bool = False) -> None:
        self.network, self.seconds, self.stops = network, seconds, stops
        self.batches: list[int] = []
        self.teachers: tuple[keras.Model, ...] = ()

    def __call__(self, data: TrainingData, short: Recipe, paths: TrainingPaths, hook: Any) -> Any:
        assert short.training.minutes == 0
        if self.stops:
            raise KeyboardInterrupt
        self.teachers = data.teachers
        seconds = self.seconds[len(self.batches)]
        self.batches.append(len(data.faces.rows(TRAIN)) // short.training.batch_size)
        epochs = sum(phase.epochs for phase in short.training.phases)
        for epoch in range(epochs):
            hook(epoch + 1, {})
        logging.getLogger("vision.training.loop").info("a line of the short training")
        return self.network, SimpleNamespace(epochs=[{"seconds": seconds}] * epochs)


@pytest.fixture
def plan(
    with_toy_backbone: None, eagerly: None, prepared: FaceSet, toy_settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:  # fmt: skip
    """Return a function that plans a training of two phases by short ones that take so many seconds."""
    monkeypatch.setattr(budget, "FEW", 1)
    monkeypatch.setattr(budget, "FORWARD_FACES", 4)
    tried = recipe(toy_settings, minutes=10.0, batch_size=8)
    network = build_classifier(toy_settings.classifier, 32, 7)

    def plan_by(*seconds: float, stops: bool = False, after: float = 0.0) -> tuple[tuple[int, ...], list[int]]:
        trainer = Trainer(network, *seconds, stops=stops)
        found = plan_epochs(TrainingData(prepared, EVEN), tried, tmp_path, trainer, Afterwards(0, after))
        return found, trainer.batches

    return plan_by


def test_more_faces_are_tried_until_an_epoch_is_long_enough(plan: Any) -> None:
    assert plan(1.0, 1.0, 3.0)[1] == [1, 4, 16]
    assert plan(3.0)[1] == [1]


def test_a_slower_machine_gets_fewer_epochs_and_the_log_says_how_many(
    plan: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vision"):
        (fast, _), (slow, _) = plan(2.0), plan(4.0)

    assert sum(slow) == pytest.approx(sum(fast) / 2, abs=2)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "training.minutes 10: measuring how long an epoch takes on this machine"
    assert said[1].startswith(f"training.minutes 10: {sum(fast)} epochs (")
    # 8 where other programs slow down the predictions that are measured here: epochs are whole
    assert re.search(r"where the recipe has 2; it ends after about [89] min, scoring included", said[1])
    assert len(said) == 4


@pytest.mark.usefixtures("with_toy_backbone", "eagerly")
def test_teachers_of_every_view_are_asked_while_an_epoch_is_measured(
    prepared: FaceSet, toy_settings: Settings, tmp_path: Path
) -> None:
    network = build_classifier(toy_settings.classifier, 32, 7)
    distillation = toy_settings.training.distillation
    trainer = Trainer(network, 3.0, 3.0)
    for every_view, asked in ((False, ()), (True, (network,))):
        changed = distillation.model_copy(update={"every_view": every_view})
        tried = recipe(toy_settings, minutes=10.0, batch_size=8, distillation=changed)

        plan_epochs(TrainingData(prepared, EVEN, (network,)), tried, tmp_path, trainer, Afterwards())

        assert trainer.teachers == asked


def test_too_few_minutes_are_refused_with_how_many_it_takes(plan: Any) -> None:
    with pytest.raises(UserError, match=r"training\.minutes 10 is too short for one epoch of each phase") as refused:
        plan(2.0, after=900.0)

    needed = re.search(r"need at least ([\d.]+); raise it", str(refused.value))
    assert needed
    assert 15 / (1 - MARGIN) < float(needed[1]) < 20


def test_ctrl_c_while_the_epochs_are_planned_promises_nothing(plan: Any) -> None:
    with pytest.raises(TrainingStoppedError, match="stopped while the epochs were planned; nothing was trained yet"):
        plan(stops=True)


@toy
def test_epochs_by_minutes_train_to_the_very_weights_of_epochs_by_hand(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "stretch", lambda given, cost, seconds: (2,))
    monkeypatch.setattr(budget, "FORWARD_FACES", 4)
    settings = random_settings(toy_settings)
    one, _ = train(few_faces, with_epochs(recipe(settings), (2,)), tmp_path / "hand")

    other, history = train(few_faces, recipe(settings, minutes=5.0), tmp_path / "minutes")

    assert [phase["epochs"] for phase in history.planned] == [2]
    assert history.numbers()["planned_epochs"] == len(history.epochs) == 2
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [path.name for path in (tmp_path / "minutes" / "run").iterdir()] == ["best.keras"]


@toy
def test_a_training_that_was_stopped_resumes_with_its_epochs_and_measures_nothing(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plans = [PLANNED]
    monkeypatch.setattr("vision.training.loop.plan_epochs", lambda *given: plans.pop())
    tried = recipe(toy_settings, minutes=5.0)
    with pytest.raises(TrainingStoppedError, match="after 2 of 5 epochs"):
        train(few_faces, tried, tmp_path, stop_in=2)

    with caplog.at_level(logging.INFO, "vision"):
        _, history = train(few_faces, tried, tmp_path)

    assert len(history.epochs) == sum(PLANNED)
    assert re.search(r"training\.minutes 5: 5 epochs \(.* 3, .* 2\), as planned when", caplog.text)
