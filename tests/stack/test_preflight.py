"""What is looked at before a training or a monitoring, on a real SQLite MLflow store with a toy model."""

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import mlflow
import pandas as pd
import pytest

from commands.command_line import parse_words
from configs.errors import UserError
from configs.loading import merge
from configs.settings import Settings
from pipelines import monitoring
from stack import model_store, preflight, registry
from stack.local_stack import tracking_uri
from stack.preflight import check_monitoring, check_room, check_training
from vision.lifecycle.drift import PROPERTIES

KNOWN = ("happy", "sad")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose store has two versions of a toy model; the second is the champion, the first was."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "mlflow").mkdir()
    mlflow.set_tracking_uri(tracking_uri(folder))
    mlflow.create_experiment("toys", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("toys")
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Resizing(8, 8, name="resize")(inputs)
    x = keras.layers.Dense(2, name="head_logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    for _ in range(2):
        with mlflow.start_run():
            model_store.log_reference(pd.DataFrame(columns=["split", "exact_hash", *PROPERTIES]))
            model_store.log_classifier(model, KNOWN, "faces")
    registry.set_alias("faces", registry.CHAMPION, "2")
    yield folder
    mlflow.set_tracking_uri(None)


@pytest.fixture
def settings(state: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("ZENML_CONFIG_PATH", raising=False)  # else it asks for a ZenML of the user's own
    return changed(
        small_settings.model_copy(update={"state_folder": state}),
        '--tracking.model_name faces --dataset.class_names "[sad, happy]"',
    )


def changed(settings: Settings, options: str) -> Settings:
    return Settings(**merge(settings.model_dump(), parse_words(shlex.split(options)).given))


def refused(settings: Settings) -> str:
    with pytest.raises(UserError) as raised:
        check_training(settings)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_a_champion_of_the_same_classes_passes_in_any_order_and_nothing_is_changed(settings: Settings) -> None:
    before = mlflow.get_tracking_uri(), dict(os.environ)

    check_training(settings)

    assert (mlflow.get_tracking_uri(), dict(os.environ)) == before


@pytest.mark.duration
def test_the_look_takes_less_than_a_second(settings: Settings) -> None:
    check_training(settings)
    started = time.monotonic()

    check_training(settings)

    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "advice",
    ['--dataset.class_names "[happy, sad]"', "--tracking.model_name faces-2"],
)
def test_other_classes_than_the_champions_are_refused_with_advice_that_works(advice: str, settings: Settings) -> None:
    other = changed(settings, '--dataset.class_names "[happy, bored]"')

    said = refused(other)

    assert "the champion, version 2 of faces, knows happy, sad; dataset.class_names is happy, bored" in said
    assert advice in said
    check_training(changed(other, advice))


@pytest.fixture
def damaged(state: Path) -> Iterator[None]:
    """The champion has lost its model's file."""
    place = Path(mlflow.artifacts.download_artifacts("models:/faces/2"))
    file = next(place.rglob("*.keras"))
    shutil.move(file, state / "kept")
    yield
    shutil.move(state / "kept", file)


def test_a_champion_that_lost_its_file_is_refused_with_advice_that_works(damaged: None, settings: Settings) -> None:
    without_former = refused(settings)
    registry.tag_version("faces", "2", {registry.PREVIOUS: "1"})
    said = refused(settings)

    assert "faces version 2 has lost its .keras file" in said
    assert "rollback" not in without_former
    assert "--pipeline rollback" in said
    assert "--tracking.model_name faces-2" in said
    check_training(changed(settings, "--tracking.model_name faces-2"))
    registry.set_alias("faces", registry.CHAMPION, "1")  # what a rollback does
    try:
        check_training(settings)
    finally:
        registry.set_alias("faces", registry.CHAMPION, "2")


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        ("nowhere.keras", "does not exist"),
        ("models:/faces/9", "is not a registered version"),
        ("models:/faces/1", r"knows happy, sad, in this order; dataset.class_names is sad, happy"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(teacher: str, reason: str, settings: Settings) -> None:
    said = refused(changed(settings, f"--training.distillation.teacher {teacher}"))

    assert teacher in said
    assert reason in said


def test_the_order_of_classes_that_a_teacher_needs_is_advice_that_works(settings: Settings) -> None:
    taught = changed(settings, "--training.distillation.teacher models:/faces/1")
    assert '--dataset.class_names "[happy, sad]"' in refused(taught)

    check_training(changed(taught, '--dataset.class_names "[happy, sad]"'))


def test_a_model_with_what_it_learned_from_can_be_monitored(settings: Settings) -> None:
    check_monitoring(settings)
    check_monitoring(changed(settings, "--inference.model models:/faces/1"))


@pytest.fixture(scope="module")
def without_reference(state: Path) -> None:
    """Register models:/bare/1, whose run has not kept what it learned from."""
    client = mlflow.MlflowClient()
    run = client.create_run(client.get_experiment_by_name("toys").experiment_id)
    client.create_registered_model("bare")
    client.create_model_version("bare", f"{run.info.artifact_uri}/model", run.info.run_id)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--inference.model runs:/0123456789abcdef/model", "is not a registered version"),
        ("--inference.model models:/faces@champion", "is not a registered version"),
        ("--inference.model models:/faces/9", "is not a registered version"),
        ("--inference.model models:/bare/1", "bare version 1 has no readable reference/reference.parquet"),
        ("--tracking.model_name nobodys", "nobodys has no champion"),
    ],
)
def test_what_cannot_be_monitored_is_refused_before_any_picture_is_predicted(
    options: str, reason: str, settings: Settings, without_reference: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.monitoring.execute", lambda *_: pytest.fail("a step ran"))
    asked = changed(settings, options)

    with pytest.raises(UserError, match=f"inference.model {asked.inference.model} .*{reason}"):
        monitoring.run(asked, {})


def test_a_file_that_is_not_a_model_is_not_a_teacher(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes.keras").write_text("no model")

    said = refused(changed(settings, f"--training.distillation.teacher {tmp_path / 'notes.keras'}"))

    assert "is not a classifier that can be loaded" in said


def test_a_network_of_another_project_is_not_a_teacher(settings: Settings, tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")

    said = refused(changed(settings, f"--training.distillation.teacher {tmp_path / 'other.keras'}"))

    assert "other.keras is not a classifier that can be loaded (it has no layer resize and head_logits" in said


def test_a_full_disk_is_seen_before_the_training(
    small_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = small_settings.classifier.model_copy(update={"backbone": "vgg19", "width": 1.0})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage._replace(free=300_000_000))

    with pytest.raises(UserError, match=r"has 0\.30 GB free; .* need about 0\.56 GB: .*--state_folder"):
        check_room(whole, tmp_path / "state")
    check_room(small_settings.classifier, tmp_path / "state")  # a narrow network is small


def test_missing_onnx_packages_are_said_before_the_training(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vision.lifecycle.onnx_export.PACKAGES", ("no_such_package",))

    check_training(changed(settings, "--onnx.enabled true"))

    assert "this training will write no ONNX files: no_such_package not installed" in caplog.text


def test_a_server_that_does_not_answer_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # MLflow's own number takes four minutes
    sentence = refused(settings)
    assert "http://127.0.0.1:9" in sentence
    assert "does not answer" in sentence
