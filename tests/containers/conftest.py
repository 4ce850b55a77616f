"""Fixtures: a stack whose steps run in containers, its stores on servers; what lacks one skips with what it needs."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT, child_environment, command
from tests.containers import podman as engine
from tests.containers.podman import Podman
from tests.servers import seaweedfs as objects
from tests.servers.conftest import zenml as zenml
from tests.servers.mlflow_server import mlflow_server
from tests.servers.seaweedfs import WRITER
from tests.servers.zenml_server import ZenMLServer

SECONDS = 2400  # a container takes 15 s to start on a quiet machine, and a training has thirteen
SET_UP = """
import json
import sys
import mlflow
from zenml.client import Client
from zenml.enums import StackComponentType as Kind

facts = json.loads(sys.argv[1])
mlflow.set_tracking_uri(facts["mlflow"]["tracking_uri"])
mlflow.create_experiment("face-emotion")
client = Client()
parts = {"s3": ("s3", Kind.ARTIFACT_STORE), "mlflow": ("mlflow", Kind.EXPERIMENT_TRACKER)}
parts |= {"docker": ("local_docker", Kind.ORCHESTRATOR), "images": ("local", Kind.IMAGE_BUILDER)}
for name, (flavor, kind) in parts.items():
    client.create_stack_component(name, flavor, kind, facts.get(name, {}))
client.create_stack("containers", {kind: name for name, (_, kind) in parts.items()})
"""


@dataclass(frozen=True)
class Containers:
    """A stack of containers, and the environment of a client that is given its name."""

    podman: Podman
    environment: dict[str, str]
    options: Path

    def start(self, client: Path, *words: str) -> "subprocess.Popen[str]":
        """Start run.py as a client whose own folders are below `client`."""
        client.mkdir(exist_ok=True)
        on_stack = ["--stack", "containers", "--orchestration.options", str(self.options)]
        line, _, _, _ = command(client, *on_stack, *words)
        environment = {**child_environment(client / "home"), **self.environment}
        return subprocess.Popen(
            line, env=environment, cwd=client, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def run(self, client: Path, *words: str) -> tuple[int, str]:
        """Return the exit code of run.py, and what it said."""
        process = self.start(client, *words)
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said

    def wait_for(self, step: str, what: str) -> str:
        """Return the container of a step, once it has said something. Raises TimeoutError."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for name, line in self.podman.containers().items():
                if f"--step_name {step}" in line and what in self.podman.call("logs", name):
                    return name
            time.sleep(0.5)
        raise TimeoutError(f"no container of {step} has said {what!r}")


@pytest.fixture(scope="session")
def client_environment(zenml: ZenMLServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a client of the ZenML server."""
    config = tmp_path_factory.mktemp("zenml-config")
    return {
        **zenml.environment_of_clients,
        "ZENML_CONFIG_PATH": str(config),
        "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
        "ZENML_ANALYTICS_OPT_IN": "false",
    }


@pytest.fixture(scope="session")
def containers(client_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    if reason := engine.why_missing() or objects.why_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("containers")
    with contextlib.ExitStack() as started:
        s3 = started.enter_context(objects.seaweedfs(tmp_path_factory.mktemp("seaweedfs")))
        bucket = s3.create_bucket("containers")
        database = f"sqlite:///{folder / 'mlflow.db'}"
        mlflow_folder = tmp_path_factory.mktemp("mlflow")
        server = mlflow_server(mlflow_folder, database, f"{bucket}/mlflow", s3.environment_of_clients)
        mlflow = started.enter_context(server)
        podman = started.enter_context(engine.podman(tmp_path_factory.mktemp("podman")))
        facts = {
            "s3": {
                "path": f"{bucket}/zenml",
                "key": WRITER.key,
                "secret": WRITER.secret,
                "client_kwargs": {"endpoint_url": s3.endpoint},
            },
            "mlflow": {"tracking_uri": mlflow.uri, "tracking_username": "unasked", "tracking_password": "unasked"},
        }
        environment = {**client_environment, **podman.environment_of_clients}
        set_up(environment, folder, json.dumps(facts))
        run_arguments = {"network_mode": "host", "user": "1000"}
        chosen = {
            "docker": {"parent_image": podman.build(), "skip_build": True},
            "orchestrator.local_docker": {"run_args": run_arguments},
        }
        options = folder / "options.yaml"
        options.write_text(yaml.safe_dump({"settings": chosen}), encoding="utf-8")
        yield Containers(podman, environment, options)


def set_up(environment: dict[str, str], folder: Path, facts: str) -> None:
    line = [sys.executable, "-c", SET_UP, facts]
    whole = {**child_environment(folder), **environment}
    done = subprocess.run(line, cwd=PROJECT, env=whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def run_in_containers(containers: Containers, toy_yaml: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that gives run.py words with TOY's settings under them."""
    return lambda *words: containers.run(tmp_path, "--config", str(toy_yaml), *words)
