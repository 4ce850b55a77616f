from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from configs.data_settings import DatasetSettings, PreprocessingSettings
from configs.errors import UserError
from configs.inference_settings import DetectionSettings
from configs.loading import FOLDER, find_changed, flatten, load_settings
from configs.training_settings import AugmentationSettings, ClassifierSettings, TrainingSettings
from tests.conftest import SMALL
from vision.data.balance import SCHEMES
from vision.data.face_detection import DETECTORS
from vision.data.preprocessing import DROP_RULES
from vision.data.readers import READERS
from vision.model.backbones import BACKBONES
from vision.model.classifier import POOLINGS
from vision.training.augmentation import AUGMENTATIONS
from vision.training.optimizers import OPTIMIZERS


def overlay(folder: Path, text: str) -> Path:
    path = folder / "overlay.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_overlay_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    plain = load_settings([], {})

    changed = load_settings([overlay(tmp_path, "training: {batch_size: 7}")], {})

    assert changed.training.batch_size == 7
    assert changed.training.model_copy(update={"batch_size": plain.training.batch_size}) == plain.training


def test_what_was_changed_gives_the_same_settings_again_as_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_EMOTION__TRAINING__BATCH_SIZE", "7")
    settings = load_settings([FOLDER / "compact.yaml"], {"seed": 5, "dataset": {"path": "faces.zip"}})

    found = find_changed(settings, without={"tracking"})
    monkeypatch.delenv("FACE_EMOTION__TRAINING__BATCH_SIZE")
    again = load_settings([overlay(tmp_path, yaml.safe_dump(found))], {})

    assert again == settings
    assert found["seed"] == 5
    assert found["training"]["batch_size"] == 7
    assert "tracking" not in found
    assert find_changed(load_settings([], {})) == {}


def test_the_environment_wins_over_yaml_and_the_command_line_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = overlay(tmp_path, "seed: 1\ntraining: {batch_size: 7}")
    monkeypatch.setenv("FACE_EMOTION__SEED", "2")
    monkeypatch.setenv("FACE_EMOTION__TRAINING__BATCH_SIZE", "8")

    settings = load_settings([path], {"training": {"batch_size": "9"}})

    assert (settings.seed, settings.training.batch_size) == (2, 9)


def test_the_later_overlay_wins(tmp_path: Path) -> None:
    (tmp_path / "second.yaml").write_text("seed: 2", encoding="utf-8")

    settings = load_settings([overlay(tmp_path, "seed: 1"), tmp_path / "second.yaml"], {})

    assert settings.seed == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"training": {"batch_size": "1"}}, r"training\.batch_size = '1': .*greater than or equal to 2"),
        ({"training": {"optimiser": "adam"}}, r"training\.optimiser = 'adam': unknown setting; .*optimizer"),
        ({"trainings": {"x": "1"}}, r"--trainings: unknown setting; .*training"),
        ({"classifier": {"backbone": "resnet"}}, r"classifier\.backbone = 'resnet': Input should be 'vgg19'"),
        ({"classifier": {"crop_size": "60"}}, r"crop_size is 60, allowed: 0 \(off\), or 32 to below .* 48"),
        ({"classifier": {"crop_size": "0"}}, r"random_crop and .* ten_crop move what .*crop_size is 0"),
        ({"dataset": {"class_names": ["Happy", "sad"]}}, r"class_names\.0 = 'Happy': String should match pattern"),
        ({"dataset": {"class_names": ["sad", "sad"]}}, r"class names are unique"),
        ({"preprocessing": {"image_size": 64}}, r"image_size is 64, allowed: 32 to dataset\.image_size, which is 48"),
        ({"augmentation": {"mixup": "0.2"}, "training": {"imbalance": "class_weight"}}, r"allowed with mixup: none"),
        ({"tuning": {"space": {"seed": {"low": 2, "high": 1, "log": False}}}}, r"low 2 and high 1 do not make a range"),
        ({"tuning": {"space": {"seed": {"choices": []}}}}, r"space\.seed\.list\.choices = \[\]: .*at least 1 item"),
        (
            {"tuning": {"space": {"seed": {"step": 1}}}},
            r"step = 1: unknown setting; allowed here: low, high, log, choices",
        ),
        ({"tuning": {"space": {"seed": 7}}}, r"space\.seed"),
        ({"tuning": {"storage": "mysql://server/trials"}}, r"tuning\.storage = …: .*expected postgresql://"),
        ({"_env_file": "x"}, r"--_env_file: unknown setting; allowed: seed"),
        (
            {"training": {"phases": [{"name": "x", "rate": 1}]}},
            r"phases\.0\.rate = 1: unknown setting; .*learning_rate",
        ),
        (
            {"training": {"phases": [{**SMALL["training"]["phases"][0], "schedule": "plateau", "warmup_epochs": 1}]}},
            r"warmup_epochs is 1, allowed with schedule plateau: 0",
        ),
        ({"training": {"minutes": 50, "phases": []}}, r"minutes is 50, allowed without phases: 0"),
        (
            {"training": {"distillation": {"teacher": "a.keras", "every_view": True}}},
            r"training.cached_views is 4, allowed with training.distillation.every_view: 0",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_settings([], given)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FACE_EMOTION__TRAINING__BATCHSIZE", "training.batchsize = '3': unknown setting"),
        ("FACE_EMOTION__TRANING__BATCH_SIZE", "unknown setting 'traning'; allowed: seed"),
    ],
)
def test_an_unknown_environment_variable_is_refused(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")

    with pytest.raises(UserError) as raised:
        load_settings([], {})

    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"detector": "yolo"}, r"inference\.detector = .*yolo.*'blazeface' or 'haar'"),
        ({"scale_factor": 1.2}, r"inference\.scale_factor = 1\.2: unknown setting.*blazeface.*haar"),
        ({"haar": {"min_score": 0.5}}, r"haar\.min_score = 0\.5: unknown setting.*scale_factor, min_neighbors"),
        ({"blazeface": {"min_neighbors": 4}}, r"blazeface\.min_neighbors = 4: unknown setting.*min_score"),
    ],
)
def test_a_setting_that_a_detector_does_not_have_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_settings([], {"inference": given})


def test_a_list_in_the_environment_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE_EMOTION__DATASET__CLASS_NAMES", "happy,sad")

    with pytest.raises(UserError, match=r"dataset.*written as JSON"):
        load_settings([], {})


@pytest.mark.parametrize("text", ["1: 2", "a: [", "- a list", "!!python/object/apply:os.getcwd []", "seed: [1, 2"])
def test_a_broken_overlay_is_refused_with_its_path(text: str, tmp_path: Path) -> None:
    path = overlay(tmp_path, text)

    with pytest.raises(UserError, match=str(path)):
        load_settings([path], {})


def test_flatten_names_nested_values_as_the_command_line_does() -> None:
    flat = flatten({"a": {"b": 1, "c": [1, 2]}, "d": [{"e": "x"}, {"e": "y"}]})

    assert flat == {"a.b": "1", "a.c": "[1, 2]", "d.0.e": "x", "d.1.e": "y"}


@pytest.mark.parametrize(
    ("allowed", "registered"),
    [
        (set(get_args(DatasetSettings.model_fields["reader"].annotation)) - {"auto"}, set(READERS)),
        (set(get_args(DetectionSettings.model_fields["detector"].annotation)), set(DETECTORS)),
        (set(get_args(ClassifierSettings.model_fields["backbone"].annotation)), set(BACKBONES)),
        (set(get_args(ClassifierSettings.model_fields["pooling"].annotation)), set(POOLINGS)),
        (set(get_args(TrainingSettings.model_fields["optimizer"].annotation)), set(OPTIMIZERS)),
        (set(get_args(get_args(PreprocessingSettings.model_fields["drop"].annotation)[0])), set(DROP_RULES)),
        (set(AugmentationSettings.model_fields), set(AUGMENTATIONS)),
        (set(get_args(TrainingSettings.model_fields["class_weights"].annotation)), set(SCHEMES)),
    ],
)  # fmt: skip
def test_every_name_that_yaml_may_say_is_registered(allowed: set[str], registered: set[str]) -> None:
    assert allowed == registered


def test_wrong_entries_of_a_list_are_refused_once() -> None:
    with pytest.raises(UserError) as numbers:
        load_settings([], {"dataset": {"class_names": [0, 1, 2]}})
    with pytest.raises(UserError) as words:
        load_settings([], {"classifier": {"dense_units": ["a", "b", 256]}})

    assert str(numbers.value).splitlines()[1:] == [
        "  dataset.class_names = [0, 1, 2]: Value error, expected the names of emotions, such as [angry, happy], not "
        "the numbers that stand for them; dataset.codes says what numbers mean, as {1: angry, 2: happy}"
    ]
    assert len(str(words.value).splitlines()) == 2
    assert "classifier.dense_units.0 = 'a'" in str(words.value)


@pytest.mark.parametrize(
    "storage",
    ["postgresql://me:hush/hush@server/trials", "postgresql://server/trials?user=me&password=hush", "http://me:hush@["],
)
def test_a_login_in_the_address_of_trials_is_refused_and_not_shown(storage: str) -> None:
    with pytest.raises(UserError, match=r"tuning\.storage = …") as refused:
        load_settings([], {"tuning": {"storage": storage}})

    assert "hush" not in str(refused.value)


def test_the_place_of_trials_is_a_path_or_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    file = load_settings([], {"tuning": {"storage": "journal.log"}}).tuning.storage
    server = load_settings([], {"tuning": {"storage": "postgresql://server:5432/trials"}}).tuning.storage

    assert file == str(tmp_path / "journal.log")
    assert server == "postgresql://server:5432/trials"


def test_a_data_set_is_a_path_or_an_address() -> None:
    assert load_settings([], {"dataset": {"path": "s3://bucket/faces.zip"}}).dataset.path == "s3://bucket/faces.zip"
    assert load_settings([], {"dataset": {"path": "/faces.zip"}}).dataset.path == Path("/faces.zip")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"training": {"doubtful_weight": 0.5}}, "doubtful_weight is 0.5, but no face is marked as doubtful"),
        (
            {
                "training": {"doubtful_weight": 0.5},
                "preprocessing": {"relabel": "/labels.csv"},
                "augmentation": {"mixup": 0.2},
            },
            r"allowed with augmentation\.mixup: 1",
        ),
        ({"training": {"doubtful_weight": 1.5}}, r"training\.doubtful_weight = 1\.5"),
        ({"audit": {"folds": 1}}, r"audit\.folds = 1"),
    ],
)
def test_doubts_that_could_not_count_as_asked_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_settings([], given)
