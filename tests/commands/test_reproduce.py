from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

import run
from commands import reproduction
from commands.reproduction import Difference, Former
from configs.errors import UserError
from configs.loading import KEPT_SETTINGS, load_settings
from configs.settings import Settings
from pipelines import training
from stack.run_log import keep_planned
from tests.conftest import PROJECT, SMALL

TAGS = {tag: f"{thing} of then" for tag, thing in reproduction.THINGS.items()}
SECTIONS = {"seed", "tracking", "dataset", "training", "classifier", "augmentation", "preprocessing", "evaluation"}


def kept(settings: Settings) -> dict[str, object]:
    return settings.model_dump(mode="json", include=SECTIONS)


@pytest.fixture
def former(small_settings: Settings) -> Former:
    return Former("abc", kept(small_settings), TAGS, {"test/accuracy": 0.5, "temperature": 1.25, "data_seconds": 3.0})


def test_the_rebuilt_settings_are_those_of_the_run(former: Former, small_settings: Settings) -> None:
    rebuilt = reproduction.rebuild(former, {})

    assert kept(rebuilt) == kept(small_settings)


def test_a_run_does_not_decide_where_this_machine_keeps_things_or_whom_it_alerts(former: Former) -> None:
    hostile = {"state_folder": "/elsewhere", "tracking": {"model_name": "other"}, "alerts": {"command": ["rm"]}}

    rebuilt = reproduction.rebuild(Former("abc", {**former.settings, **hostile}, {}, {}), {})

    assert rebuilt.alerts.command == ()
    assert rebuilt.state_folder == PROJECT / ".state"
    assert rebuilt.tracking.model_name == "face-emotion-classifier"


def test_the_command_line_is_stronger_than_the_run_and_a_given_data_set_brings_its_reader(former: Former) -> None:
    rebuilt = reproduction.rebuild(former, {"dataset": {"path": "faces.zip"}, "training": {"batch_size": "8"}})

    assert (rebuilt.dataset.reader, rebuilt.dataset.path) == ("auto", Path.cwd() / "faces.zip")
    assert rebuilt.training.batch_size == 8
    assert rebuilt.dataset.image_size == SMALL["dataset"]["image_size"]


def test_settings_that_this_code_does_not_know_are_named(former: Former) -> None:
    unknown = Former("abc", {**former.settings, "training": {"momentum": 0.9}}, {}, {})

    with pytest.raises(UserError, match=r"training\.momentum = 0\.9: unknown setting"):
        reproduction.rebuild(unknown, {})


def test_what_is_as_it_was_is_no_difference(former: Former) -> None:
    assert reproduction.find_differences(former, former.settings, TAGS) == []
    assert "are those of run abc" in reproduction.render(former, [])


def test_where_the_data_came_from_is_no_difference_but_what_they_hold_is(former: Former) -> None:
    now = reproduction.rebuild(former, {"dataset": {"path": "moved.zip"}})

    found = reproduction.find_differences(former, kept(now), {**TAGS, "data_fingerprint": "others"})

    assert found == [Difference("data", "data of then", "others")]


def test_a_teacher_in_another_place_is_no_difference_but_another_teacher_is(former: Former) -> None:
    now = kept(reproduction.rebuild(former, {"training": {"distillation": {"teacher": "elsewhere/teacher.keras"}}}))

    assert reproduction.find_differences(former, now, TAGS) == []
    found = reproduction.find_differences(former, now, {**TAGS, "teacher_sha256": "another"})
    assert found == [Difference("teacher", TAGS["teacher_sha256"], "another")]


def test_a_changed_setting_and_changed_code_are_named_with_then_and_now(former: Former) -> None:
    now = reproduction.rebuild(former, {"training": {"label_smoothing": "0.2"}})

    found = reproduction.find_differences(former, kept(now), {**TAGS, "code_fingerprint": "edited"})

    assert found == [
        Difference("training.label_smoothing", "0.1", "0.2"),
        Difference("code", "code of then", "edited"),
    ]
    table = reproduction.render(former, found).splitlines()
    assert table[1].split() == ["differs", "then", "now"]
    assert table[3].split() == ["training.label_smoothing", "0.1", "0.2"]


def test_metrics_stand_side_by_side_and_times_are_not_compared(former: Former) -> None:
    lines = reproduction.compare_metrics(
        former.metrics, {"test/accuracy": 0.5, "temperature": 1.5, "data_seconds": 9.0}
    )

    assert lines == {
        "test/accuracy": "0.500000 then, 0.500000 now, difference 0.0e+00",
        "temperature": "1.250000 then, 1.500000 now, difference 2.5e-01",
        "largest difference": "2.5e-01 (temperature), of 2 metrics",
    }


def test_a_metric_that_became_undefined_differs() -> None:
    lines = reproduction.compare_metrics({"test/accuracy": 0.5}, {"test/accuracy": float("nan")})

    assert lines["largest difference"] == "inf (test/accuracy), of 1 metrics"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """Return a store's URI, and runs that cannot be reproduced, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("face-emotion", (folder / "artifacts").as_uri())
    runs = {}
    for name, pipeline, content in (
        ("no training", "rollback", "{}"), ("no file", "training", None), ("no JSON", "training", "{"),
        ("no sections", "training", "[]"),
    ):  # fmt: skip
        runs[name] = client.create_run(experiment, tags={"pipeline": pipeline}).info.run_id
        if content is not None:
            client.log_text(runs[name], content, "settings.json")
    return uri, {**runs, "unknown": "0" * 32, "no id": "../x"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown", "has no such run"),
        ("no id", "has no such run"),
        ("no training", "that run is not a training but rollback"),
        ("no file", "that run has no readable settings.json"),
        ("no JSON", "that run has no readable settings.json"),
        ("no sections", "its settings.json contains list"),
    ],
)
def test_a_run_that_cannot_be_reproduced_says_why(name: str, said: str, store: tuple[str, dict[str, str]]) -> None:
    uri, runs = store

    with pytest.raises(UserError, match=said):
        reproduction.recall(runs[name], "face-emotion", uri)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no such run"):
        reproduction.recall("0" * 32, "face-emotion", f"sqlite:///{tmp_path / 'mlflow.db'}")

    assert list(tmp_path.iterdir()) == []


def test_files_of_settings_do_not_go_with_a_reproduction(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--reproduce", "0" * 32, "--config", "configs/compact.yaml"]) == 2

    assert "--reproduce takes the settings from the run" in capsys.readouterr().err


def test_the_settings_of_all_yaml_files_can_be_rebuilt_from_what_a_run_keeps() -> None:
    settings = load_settings([], {})

    assert kept(reproduction.rebuild(Former("abc", kept(settings), {}, {}), {})) == kept(settings)


def test_a_run_keeps_of_the_detectors_the_one_that_cut_its_faces_out(small_settings: Settings) -> None:
    dataset = small_settings.dataset.model_copy(update={"crop_faces": True})
    inference = small_settings.inference.model_copy(update={"detector": "haar", "margin": 0.2})
    settings = small_settings.model_copy(update={"dataset": dataset, "inference": inference})

    kept = training.kept_settings(settings)

    assert kept["inference"].keys() == {"detector", "detection_side", "min_face_pixels", "margin", "haar"}
    assert load_settings([], kept).detection == settings.detection
    assert "inference" not in training.kept_settings(small_settings)


@pytest.fixture
def tracked(store: tuple[str, dict[str, str]]) -> Iterator[str]:
    """Let MLflow write to the store; return its URI."""
    mlflow.set_tracking_uri(store[0])
    yield store[0]
    mlflow.set_tracking_uri(None)


def test_a_run_by_minutes_is_reproduced_with_the_epochs_that_were_planned(
    small_settings: Settings, tracked: str
) -> None:
    experiment = mlflow.get_experiment_by_name("face-emotion").experiment_id
    by_minutes = small_settings.training.model_copy(update={"minutes": 50.0})
    planned = [phase.model_copy(update={"epochs": 7, "warmup_epochs": 0.25}) for phase in by_minutes.phases]
    with mlflow.start_run(experiment_id=experiment, tags={"pipeline": "training"}) as begun:
        mlflow.log_dict(kept(small_settings.model_copy(update={"training": by_minutes})), KEPT_SETTINGS)

        keep_planned([phase.model_dump(mode="json") for phase in planned])

    rebuilt = reproduction.rebuild(reproduction.recall(begun.info.run_id, "face-emotion", tracked), {})
    assert rebuilt.training.minutes == 0
    assert rebuilt.training.phases == tuple(planned)
    assert mlflow.get_run(begun.info.run_id).data.tags["planned_epochs"].endswith(" 7")
