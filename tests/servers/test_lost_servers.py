"""Each server is killed once in the middle of a training on a ZenML server's stack; the same command resumes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.conftest import WatchedRun, start_runs
from tests.servers.conftest import STACK, UsersStack
from tests.servers.postgresql import PASSWORD
from tests.servers.seaweedfs import WRITER

pytestmark = pytest.mark.servers


@dataclass(frozen=True)
class Losses:
    """The run from which each server was taken, by its name, and the last, which lost none."""

    lost: dict[str, WatchedRun] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def start(short_yaml: Path) -> Iterator[Callable[..., WatchedRun]]:
    yield from start_runs(short_yaml)


@pytest.fixture(scope="module")
def losses(
    users_stack: UsersStack, start: Callable[..., WatchedRun], tmp_path_factory: pytest.TempPathFactory
) -> Losses:
    folder, stores, losses = tmp_path_factory.mktemp("lost"), users_stack.stores, Losses()
    moments = {
        "s3": (stores.s3, "epoch 2/6"),
        "postgresql": (stores.postgresql, "train_model: done"),
        "mlflow": (stores.mlflow, "evaluate_model: done"),
        "zenml": (users_stack.zenml, "evaluate_model: done"),
    }
    for name, (server, moment) in moments.items():
        run = losses.lost[name] = start(folder, "--stack", STACK, **users_stack.environment)
        run.wait_for(run.says(moment))
        server.kill()
        losses.codes[name] = run.end()
        server.start()
    last = losses.lost["none"] = start(folder, "--stack", STACK, **users_stack.environment)
    losses.codes["none"] = last.end()
    return losses


@pytest.mark.parametrize("name", ["s3", "postgresql", "mlflow", "zenml"])
def test_a_lost_server_ends_the_run_with_one_sentence_that_names_it(
    name: str, losses: Losses, users_stack: UsersStack
) -> None:
    run, stores = losses.lost[name], users_stack.stores
    named = {
        "s3": f"the artifact store s3://zenml-of-team/steps at {stores.s3.endpoint}",
        "postgresql": stores.mlflow.uri,
        "mlflow": f"the MLflow server {stores.mlflow.uri}",
        "zenml": f"the ZenML server {users_stack.zenml.url} (ZENML_STORE_URL) does not answer",
    }

    (error,) = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert losses.codes[name] == 2, run.output
    assert named[name] in error
    assert "the same command resumes" in error
    assert "Traceback" not in run.output


def test_the_same_command_resumes_without_training_again(losses: Losses) -> None:
    assert losses.codes["none"] == 0, losses.lost["none"].output
    assert "the training was finished before (6 epochs)" in losses.lost["none"].output
    assert sum(run.output.count("epoch 3/6") for run in losses.lost.values()) == 1


def test_no_output_shows_a_secret(losses: Losses, users_stack: UsersStack) -> None:
    secrets = (PASSWORD, WRITER.secret, users_stack.zenml.api_key)

    assert not [secret for secret in secrets for run in losses.lost.values() if secret in run.output]
