"""A training whose steps run each in a container of its own, with all stores on servers."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import HELD, INVALID_DATA, REJECTED, UNEXPECTED
from tests.containers.conftest import SECONDS, Containers

pytestmark = pytest.mark.containers

LONG = {
    "name": "long", "trainable": ["all"], "epochs": 12, "learning_rate": 0.001, "schedule": "constant",
    "warmup_epochs": 0, "patience": 12,
}  # fmt: skip
TRAIN = ("--pipeline", "training")
Run = Callable[..., tuple[int, str]]


def test_a_container_killed_in_mid_training_resumes_from_its_last_epoch_in_another(
    containers: Containers, toy_yaml: Path, tmp_path: Path
) -> None:
    words = ["--config", str(toy_yaml), *TRAIN, "--training.phases", json.dumps([LONG])]
    first = containers.start(tmp_path / "client", *words)
    killed = containers.wait_for("train_model", "epoch 3/12")
    containers.podman.call("kill", killed)
    said_before, _ = first.communicate(timeout=SECONDS)

    code, said = containers.run(tmp_path / "other-client", *words)

    assert first.returncode == UNEXPECTED, said_before
    assert code == HELD, said
    logs = containers.podman.logs_of("train_model", without=killed)
    resumed = re.search(r"the training resumes from epoch (\d+) of 12", logs)
    assert resumed is not None, logs
    assert int(resumed[1]) > 3
    assert "epoch 1/12" not in logs
    assert "epoch 12/12" in logs


def test_the_gate_in_a_container_can_reject(run_in_containers: Run) -> None:
    code, said = run_in_containers(*TRAIN, "--promotion.min_accuracy", "1")

    assert code == REJECTED, said
    assert "rejected" in said


def test_data_that_fail_a_check_in_a_container_end_the_command_as_they_do_here(
    run_in_containers: Run, tmp_path: Path
) -> None:
    code, said = run_in_containers(*TRAIN, "--validation.class_count.min_count", "100000")

    assert code == INVALID_DATA, said
    assert re.search(r"^critical class_count ", said, re.MULTILINE), said
