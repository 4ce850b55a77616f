"""Fixtures: a ZenML of the user's own whose stack runs each step in a process that knows nothing of the client's."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT, child_environment, command
from tests.elsewhere.process_orchestrator import LOG

SECONDS = 900  # a step's process takes ten seconds to start on a quiet machine, and a training has thirteen
SET_UP = """
import sys
from pathlib import Path
import mlflow
from zenml.client import Client
from zenml.enums import StackComponentType as Kind
from stack.local_stack import library_defaults
from tests.elsewhere.process_orchestrator import ProcessFlavor

stores = Path(sys.argv[1])
uri = f"sqlite:///{stores / 'mlflow.db'}"
mlflow.set_tracking_uri(uri)
mlflow.create_experiment("face-emotion", artifact_location=(stores / "mlflow").as_uri())
client = Client()
client.create_flavor(f"{ProcessFlavor.__module__}.{ProcessFlavor.__name__}", Kind.ORCHESTRATOR)
client.create_stack_component("processes", "process", Kind.ORCHESTRATOR, {})
client.create_stack_component("files", "local", Kind.ARTIFACT_STORE, {"path": str(stores / "artifacts")})
client.create_stack_component("runs", "mlflow", Kind.EXPERIMENT_TRACKER, {"tracking_uri": uri})
parts = {Kind.ORCHESTRATOR: "processes", Kind.ARTIFACT_STORE: "files", Kind.EXPERIMENT_TRACKER: "runs"}
client.create_stack("elsewhere", parts)
client.activate_stack("elsewhere")
"""


@dataclass(frozen=True)
class Cluster:
    """The stores that client and steps share, and what the steps said."""

    folder: Path

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder / 'stores' / 'mlflow.db'}"

    @property
    def log(self) -> Path:
        return self.folder / "steps.log"

    def said(self) -> str:
        """Return what all steps have said so far."""
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def environment(self, home: Path) -> dict[str, str]:
        return {
            **child_environment(home),
            "ZENML_CONFIG_PATH": str(self.folder / "zenml"),
            "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
            "ZENML_ANALYTICS_OPT_IN": "false",
            LOG: str(self.log),
        }

    def start(self, client: Path, *words: str) -> "subprocess.Popen[str]":
        """Start run.py as a client whose own folders are below `client`."""
        line, _, _, _ = command(client, *words)
        return subprocess.Popen(
            line, env=self.environment(client / "home"), cwd=client, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, client: Path, *words: str) -> tuple[int, str]:
        """Return the exit code of run.py, and what it said."""
        client.mkdir(exist_ok=True)
        process = self.start(client, *words)
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    for folder in ("zenml", "stores"):
        (made.folder / folder).mkdir()
    line = [sys.executable, "-c", SET_UP, str(made.folder / "stores")]
    environment = made.environment(made.folder / "home")
    done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def run_elsewhere(cluster: Cluster, toy_yaml: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that gives run.py words with TOY's settings under them."""
    return lambda *words: cluster.run(tmp_path, "--config", str(toy_yaml), *words)
