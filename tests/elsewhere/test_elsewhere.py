"""Whole pipelines whose steps run in processes of their own, which share only the stores with the client."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from configs.errors import HELD, INVALID_DATA, REJECTED, UserError
from tests.conftest import fill_folder
from tests.elsewhere.conftest import SECONDS, Cluster

pytestmark = pytest.mark.servers
LONG_PHASE = {
    "name": "all", "trainable": ["all"], "epochs": 6, "learning_rate": 0.001, "schedule": "constant",
    "warmup_epochs": 0, "patience": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A training that was promoted, and its client's folder."""

    cluster: Cluster
    client: Path
    code: int
    said: str

    def line(self, name: str) -> str:
        """Return what the last lines say under a name."""
        return next(line[28:].strip() for line in self.said.splitlines() if line[:28].strip() == name)


@pytest.fixture(scope="module")
def trained(cluster: Cluster, toy_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    client = tmp_path_factory.mktemp("client")
    words = ["--config", str(toy_yaml), "--promotion.allow_drawn", "true"]
    return Trained(cluster, client, *cluster.run(client, *words))


def test_a_data_set_that_fails_a_check_in_its_step_ends_the_command_with_its_code_and_sentence(
    run_elsewhere: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    fill_folder(tmp_path / "faces" / "happy", 30)

    code, said = run_elsewhere("--dataset.reader", "folder", "--dataset.path", str(tmp_path / "faces"))

    assert code == INVALID_DATA, said
    assert "error: faces failed" in said
    assert "class_count" in said
    assert "Traceback" not in said


def test_a_training_promotes_and_its_report_arrives_at_the_client(trained: Trained) -> None:
    assert trained.code == 0, trained.said
    page = Path(trained.line("report"))
    assert page.is_relative_to(trained.client / "reports")
    assert "<html" in page.read_text(encoding="utf-8")
    assert (page.parent / "decision.md").exists()


def test_the_version_says_the_machine_that_trained(trained: Trained) -> None:
    client = mlflow.MlflowClient(trained.cluster.tracking_uri)
    run = client.get_run(trained.line("MLflow run"))
    champion = client.get_model_version_by_alias("face-emotion-classifier", "champion")

    assert run.data.tags["device"] == champion.tags["device"] == "CPU"
    assert champion.tags["convolutions"] == "oneDNN"  # as the environment of the step says


def test_the_client_has_none_of_the_steps_own_files(trained: Trained) -> None:
    assert not (trained.client / "state" / "features").exists()
    assert not (trained.client / "state" / "unfinished").exists()


def test_a_finished_training_leaves_no_state_in_the_store(trained: Trained) -> None:
    assert not [*(trained.cluster.folder / "stores" / "artifacts").glob("unfinished/*/*")]


def test_the_same_training_again_is_held_with_its_code(
    trained: Trained, run_elsewhere: Callable[..., tuple[int, str]]
) -> None:
    code, said = run_elsewhere("--promotion.allow_drawn", "true")

    assert code == HELD, said


def test_predictions_arrive_at_the_client(
    trained: Trained, run_elsewhere: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    fill_folder(tmp_path / "faces", 5)
    words = ["--inference.input", str(tmp_path / "faces"), "--inference.output", str(tmp_path / "predictions")]

    code, said = run_elsewhere("--pipeline", "inference", "--inference.detect", "false", *words)

    assert code == 0, said
    (table,) = (tmp_path / "predictions").glob("*/predictions.parquet")
    assert len(pd.read_parquet(table)) == 5
    assert str(table) in said


def test_a_bundle_goes_from_the_store_to_the_client_and_back(
    trained: Trained, run_elsewhere: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    bundle = tmp_path / "champion.zip"

    exported = run_elsewhere("--pipeline", "export", "--bundle.path", str(bundle))
    imported = run_elsewhere("--pipeline", "import", "--bundle.path", str(bundle), "--tracking.model_name", "imported")

    assert (exported[0], imported[0]) == (0, 0), exported[1] + imported[1]
    client = mlflow.MlflowClient(trained.cluster.tracking_uri)
    assert client.get_model_version_by_alias("imported", "champion").version == 1


def test_a_mistake_that_a_step_finds_ends_the_command_with_its_sentence(
    trained: Trained, run_elsewhere: Callable[..., tuple[int, str]]
) -> None:
    code, said = run_elsewhere("--pipeline", "rollback", "--rollback.version", "99")

    assert code == UserError.exit_code, said
    assert "error: models:/face-emotion-classifier/99 is not a registered version" in said
    assert "Traceback" not in said


def test_a_training_that_is_killed_resumes_in_another_process_from_its_last_epoch(
    cluster: Cluster, toy_yaml: Path, tmp_path: Path
) -> None:
    words = ["--config", str(toy_yaml), "--seed", "9", "--training.phases", json.dumps([LONG_PHASE])]
    said_before = len(cluster.said())
    first = cluster.start(tmp_path, *words)
    wait_until(lambda: "epoch 3/6" in cluster.said()[said_before:], first)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    said_before = len(cluster.said())

    code, said = cluster.run(tmp_path / "another", *words, "--promotion.min_accuracy", "1")

    steps = cluster.said()[said_before:]
    assert code == REJECTED, said
    assert re.search(r"the training resumes from epoch [34] of 6", steps), steps
    assert "epoch 1/6" not in steps


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)
