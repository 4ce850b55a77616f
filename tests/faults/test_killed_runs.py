"""Runs that are killed (SIGKILL, the whole process group) in each of their steps, and started again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from tests.faults.conftest import WatchedRun

pytestmark = pytest.mark.faults
NAME = "face-emotion-classifier"
DATA_STEPS = (
    "ingest_data",
    "validate_data",
    "accept_data",
    "analyze_balance",
    "preprocess_data",
    "preview_augmentation",
)
AFTER_TRAINING = ("evaluate_model", "write_model_card", "promote_model")
KILLED_IN = (*DATA_STEPS, "train_model", "register_model", *AFTER_TRAINING)


@dataclass(frozen=True)
class Life:
    """The runs that were killed, by the step in which they were, the last, which was not, and its champion."""

    killed: dict[str, WatchedRun]
    last: WatchedRun
    code: int
    client: mlflow.MlflowClient
    champion: str


@pytest.fixture(scope="module")
def life(start: Callable[..., WatchedRun], tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder = tmp_path_factory.mktemp("killed")
    killed = {}
    for step in KILLED_IN:
        run = killed[step] = start(folder)
        run.wait_for(run.says("epoch 3/6") if step == "train_model" else run.is_in(step))
        run.kill()
    last = start(folder)
    code = last.end()
    client = mlflow.MlflowClient(f"sqlite:///{last.state / 'mlflow' / 'mlflow.db'}")
    return Life(killed, last, code, client, str(client.get_model_version_by_alias(NAME, "champion").version))


def test_the_run_after_the_killed_ones_ends_well(life: Life) -> None:
    assert life.code == 0, life.last.output
    assert "Traceback" not in life.last.output


def test_finished_data_steps_come_from_the_cache(life: Life) -> None:
    for step, following in (("ingest_data", "validate_data"), ("preprocess_data", "preview_augmentation")):
        assert f"{step}: done" not in life.killed[step].output
        assert f"{step}: done" in life.killed[following].output
        assert f"{step}: done" not in life.killed["train_model"].output
        assert f"{step}: done" not in life.last.output


def test_a_training_that_was_killed_goes_on_from_its_last_epoch(life: Life) -> None:
    output = life.killed["register_model"].output

    assert "the training resumes from epoch" in output
    assert "epoch 1/6" not in output
    assert "epoch 6/6" in output


def test_after_the_training_nothing_is_trained_again(life: Life) -> None:
    for run in (*(life.killed[step] for step in AFTER_TRAINING), life.last):
        assert "the training was finished before (6 epochs): nothing is trained again" in run.output
        assert "/6 [" not in run.output


def test_the_last_run_has_the_curves_of_the_killed_ones(life: Life) -> None:
    champion = life.client.get_model_version_by_alias(NAME, "champion")

    history = life.client.get_metric_history(champion.run_id, "val_accuracy")

    assert [metric.step for metric in history] == [1, 2, 3, 4, 5, 6]


def test_no_version_of_a_killed_run_is_champion(life: Life) -> None:
    versions = life.client.search_model_versions(f"name='{NAME}'")
    champion = life.client.get_model_version_by_alias(NAME, "champion")

    orphans = [version for version in versions if version.version != champion.version]
    assert orphans  # those that were registered before the kill
    assert all("promoted_at" not in version.tags for version in orphans)
    assert life.client.get_run(champion.run_id).info.status == "FINISHED"
    for alias in ("champion", "challenger"):
        version = life.client.get_model_version_by_alias(NAME, alias).version
        mlflow.set_tracking_uri(f"sqlite:///{life.last.state / 'mlflow' / 'mlflow.db'}")
        assert mlflow.pyfunc.load_model(f"models:/{NAME}/{version}")


def test_what_was_kept_for_resuming_goes_after_the_good_end(life: Life) -> None:
    assert not list((life.last.state / "unfinished").iterdir())


def test_an_orphan_version_is_no_target_of_a_rollback(life: Life, start: Callable[..., WatchedRun]) -> None:
    versions = life.client.search_model_versions(f"name='{NAME}'")
    orphan = min(int(version.version) for version in versions)

    run = start(life.last.state.parent, "--pipeline", "rollback", "--rollback.version", str(orphan))

    assert run.end() == 2
    assert "never was champion" in run.output


@pytest.mark.parametrize("step", ["report_run", "export_onnx"])
def test_a_promotion_survives_a_kill_in_what_comes_after_it(
    start: Callable[..., WatchedRun], tmp_path: Path, step: str
) -> None:
    run = start(tmp_path, "--onnx.enabled", "true")
    run.wait_for(run.is_in(step))
    run.kill()

    mlflow.set_tracking_uri(f"sqlite:///{run.state / 'mlflow' / 'mlflow.db'}")
    champion = mlflow.MlflowClient().get_model_version_by_alias(NAME, "champion")
    assert "promoted_at" in champion.tags
    assert mlflow.pyfunc.load_model(f"models:/{NAME}/{champion.version}")
