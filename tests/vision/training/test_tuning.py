from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from configs.errors import UserError
from configs.loading import find_changed, load_settings
from configs.settings import Settings
from configs.tuning_settings import ChoiceSpace, NumberSpace
from vision.data.faces import FaceSet
from vision.data.relabelling import DOUBTFUL
from vision.training.search import SearchStoppedError
from vision.training.tuning import (
    OF_OTHERS,
    SearchData,
    SearchPlaces,
    TuningReport,
    check_space,
    search_settings,
    study_name,
)

pytestmark = [
    pytest.mark.usefixtures("with_toy_backbone", "without_curves", "eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]

SPACE: dict[str, Any] = {
    "training.phases.0.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    "classifier.dense_units": {"choices": [[], [8]]},
}


class Log:
    """What the search tells of its trials."""

    def __init__(self, stop_in: int = -1) -> None:
        self.trials: list[int] = []
        self.values: list[dict[str, Any]] = []
        self.epochs: list[int] = []
        self.stop_in = stop_in

    @contextmanager
    def __call__(self, number: int, values: dict[str, Any]) -> Iterator[Any]:
        self.trials.append(number)
        self.values.append(values)

        def hook(epoch: int, metrics: Mapping[str, float]) -> None:
            if number == self.stop_in:
                raise KeyboardInterrupt
            self.epochs.append(epoch)

        yield hook


@pytest.fixture
def settings(toy_settings: Settings) -> Settings:
    given = toy_settings.model_dump(mode="json")
    given["tuning"] |= {"trials": 3, "epochs": 2, "startup_trials": 2, "space": SPACE}
    given["training"]["phases"] = given["training"]["phases"][:1]
    return Settings(**given)


def search(faces: FaceSet, settings: Settings, folder: Path, log: Log | None = None) -> TuningReport:
    places = SearchPlaces(folder / "tuning", folder / "features")
    return search_settings(SearchData(faces), settings, places, log or Log())


def test_a_stopped_search_resumes_and_its_best_is_a_file_for_config(
    few_faces: FaceSet, settings: Settings, tmp_path: Path
) -> None:
    log = Log(stop_in=1)
    with pytest.raises(SearchStoppedError, match="1 of 3 trials are kept; the same command resumes"):
        search(few_faces, settings, tmp_path, log)

    again = Log()
    report = search(few_faces, settings, tmp_path, again)

    assert [trial["state"] for trial in report.trials].count("complete") >= 2
    assert len(again.trials) == 2  # the first is not trained again
    assert again.values[0] != log.values[0]
    best = max((t for t in report.trials if t["state"] == "complete"), key=lambda trial: trial["value"])
    assert report.best["value"] == best["value"]
    found = tmp_path / "best.yaml"
    found.write_text(report.yaml(), encoding="utf-8")
    loaded = load_settings([found], {})
    assert loaded.training.phases[0].learning_rate == pytest.approx(
        report.best["values"]["training.phases.0.learning_rate"]
    )
    assert list(loaded.classifier.dense_units) == report.best["values"]["classifier.dense_units"]
    assert find_changed(loaded, OF_OTHERS) == yaml.safe_load(report.yaml())  # all of the search's settings are there
    assert loaded.classifier.backbone == settings.classifier.backbone
    assert len(list((tmp_path / "features").iterdir())) == 1  # all trials share the frozen features


def test_a_hopeless_trial_is_pruned(few_faces: FaceSet, settings: Settings, tmp_path: Path) -> None:
    # after two trials that learn, one with a learning rate near nothing is below their median
    def with_rates(low: float, high: float, trials: int) -> Settings:
        space = {"training.phases.0.learning_rate": NumberSpace(low=low, high=high, log=False)}
        tuning = settings.tuning.model_copy(update={"space": space, "trials": trials, "startup_trials": 1, "epochs": 3})
        training = settings.training.model_copy(update={"monitor": "val_loss"})
        return settings.model_copy(update={"tuning": tuning, "training": training})

    report = search(few_faces, with_rates(1e-6, 0.2, 5), tmp_path)

    pruned = [trial for trial in report.trials if trial["state"] == "pruned"]
    assert pruned
    assert all(trial["epochs"] < 3 for trial in pruned)


def with_space(settings: Settings, **space: NumberSpace | ChoiceSpace) -> Settings:
    return settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"space": space})})


@pytest.mark.parametrize(
    ("path", "space", "said"),
    [
        (
            "training.phases.7.learning_rate",
            NumberSpace(low=0.1, high=0.2, log=False),
            r"training\.phases\.7\.learning_rate: there is no such setting",
        ),
        (
            "training.label_smoothing",
            NumberSpace(low=-1.0, high=0.2, log=False),
            r"training\.label_smoothing = -1\.0: .*greater than or equal to 0",
        ),
        ("classifier.dropout", NumberSpace(low=0.0, high=1.5, log=False), r"classifier\.dropout = 1\.5: .*less than"),
        (
            "training.batch_size",
            NumberSpace(low=32, high=128, log=True),
            r"training\.batch_size = 62\.\d+: .*integer.*; for whole numbers give choices",
        ),
        ("training.imbalance", ChoiceSpace(choices=("none", "often")), r"training\.imbalance = 'often'"),
    ],
)
def test_values_that_no_trial_can_have_are_told_before_the_first(
    toy_settings: Settings, path: str, space: NumberSpace | ChoiceSpace, said: str
) -> None:
    with pytest.raises(UserError, match=rf"tuning\.space\.{path} has values that no trial can have: [\s\S]*{said}"):
        check_space(with_space(toy_settings, **{path: space}))


@pytest.mark.parametrize(
    "path", ["preprocessing.validation_share", "training.phases.0.epochs", "training.phases.1.epochs", "seed"]
)
def test_a_path_that_would_change_no_trial_is_refused(toy_settings: Settings, path: str) -> None:
    space = ChoiceSpace(choices=(0.1 if path.endswith("share") else 1,))

    with pytest.raises(UserError, match=rf"tuning\.space\.{path} would change no trial"):
        check_space(with_space(toy_settings, **{path: space}))


def test_losses_of_other_kinds_are_not_compared(toy_settings: Settings) -> None:
    by_loss = toy_settings.training.model_copy(update={"monitor": "val_loss"})
    settings = toy_settings.model_copy(update={"training": by_loss})
    smoothing, rate = NumberSpace(low=0.0, high=0.2, log=False), NumberSpace(low=0.001, high=0.1, log=True)

    check_space(with_space(settings, **{"training.phases.0.learning_rate": rate}))
    check_space(with_space(toy_settings, **{"training.label_smoothing": smoothing}))
    with pytest.raises(UserError, match=r"val_loss cannot compare trials of tuning\.space\.training\.label_smoothing"):
        check_space(with_space(settings, **{"training.label_smoothing": smoothing}))


def test_a_search_with_other_doubts_or_balance_is_another_one(few_faces: FaceSet, settings: Settings) -> None:
    doubted = replace(few_faces, table=few_faces.table.assign(**{DOUBTFUL: np.arange(len(few_faces)) % 2 == 0}))
    balance = settings.balance.model_copy(update={"effective_number_beta": 0.5})

    names = {
        study_name(SearchData(few_faces), settings),
        study_name(SearchData(doubted), settings),
        study_name(SearchData(few_faces), settings.model_copy(update={"balance": balance})),
    }

    assert len(names) == 3
    assert study_name(SearchData(few_faces), settings) in names
