from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import Settings
from configs.tuning_settings import ChoiceSpace, NumberSpace
from vision.data.faces import FaceSet
from vision.training.search import SearchStoppedError
from vision.training.tuning import SearchData, SearchPlaces, TuningReport, search_settings

pytestmark = [
    pytest.mark.usefixtures("with_toy_backbone", "without_curves", "eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]

EVEN = {
    scheme: dict.fromkeys(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"), 1.0)
    for scheme in ("inverse_frequency", "effective_number")
}
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
    return search_settings(SearchData(faces, EVEN), settings, places, log or Log())


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
    assert set(yaml.safe_load(report.yaml())) == {"training", "classifier"}
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


def test_a_path_that_is_no_setting_stops_before_the_first_trial(
    few_faces: FaceSet, settings: Settings, tmp_path: Path
) -> None:
    space = {"training.phases.7.learning_rate": NumberSpace(low=0.1, high=0.2, log=False)}
    wrong = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"space": space})})

    with pytest.raises(UserError, match=r"training\.phases\.7\.learning_rate: there is no such setting"):
        search(few_faces, wrong, tmp_path)


@pytest.mark.parametrize(
    "path", ["preprocessing.validation_share", "training.phases.0.epochs", "training.phases.1.epochs", "seed"]
)
def test_a_path_that_would_change_no_trial_is_refused(
    few_faces: FaceSet, toy_settings: Settings, tmp_path: Path, path: str
) -> None:
    space = {path: ChoiceSpace(choices=(0.1 if path.endswith("share") else 1,))}
    wrong = toy_settings.model_copy(update={"tuning": toy_settings.tuning.model_copy(update={"space": space})})

    with pytest.raises(UserError, match=rf"tuning\.space\.{path} would change no trial"):
        search(few_faces, wrong, tmp_path)


def test_a_value_out_of_bounds_is_named(few_faces: FaceSet, settings: Settings, tmp_path: Path) -> None:
    space = {"training.label_smoothing": NumberSpace(low=-1.0, high=0.2, log=False)}
    wrong = settings.model_copy(update={"tuning": settings.tuning.model_copy(update={"space": space})})

    with pytest.raises(UserError, match=r"training\.label_smoothing = -1\.0: .*greater than or equal to 0"):
        search(few_faces, wrong, tmp_path)
