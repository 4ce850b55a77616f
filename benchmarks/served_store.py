"""A store with two versions of a model, and `run.py --serve` on it, as a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests
import yaml

from benchmarks.measuring import PROJECT, QUIET

START_SECONDS = 60.0
PORTS = (20_000, 30_000)  # one of them by chance; the service says so where it is taken


@dataclass(frozen=True)
class Store:
    """An MLflow store in a folder: its address, the model's name, and its two versions, of which one is champion."""

    folder: Path
    uri: str
    name: str
    versions: tuple[str, str]

    def crown(self, version: str) -> None:
        """Make a version the champion."""
        self._client().set_registered_model_alias(self.name, "champion", version)

    def _client(self) -> Any:
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def make_store(folder: Path, name: str, onnx_file: Path, class_names: Sequence[str]) -> Store:
    """Register an ONNX file twice, with what the service reads of a version; the first is champion."""
    import mlflow

    folder.mkdir()
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.create_experiment("benchmark", artifact_location=str(folder / "artifacts"))
    client.create_registered_model(name)
    versions = []
    for number in range(2):
        run = client.create_run(experiment)
        client.log_artifact(run.info.run_id, str(onnx_file), "onnx")
        model = folder / f"model{number}"
        model.mkdir()
        described = yaml.safe_dump({"metadata": {"class_names": list(class_names)}})
        (model / "MLmodel").write_text(described, encoding="utf-8")
        versions.append(client.create_model_version(name, str(model), run.info.run_id).version)
    store = Store(folder, uri, name, (str(versions[0]), str(versions[1])))
    store.crown(store.versions[0])
    return store


@dataclass(frozen=True)
class Server:
    """A running service: its port and its process."""

    port: int
    process: psutil.Process
    seconds_to_ready: float

    @property
    def address(self) -> str:
        """The address that paths are appended to."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str) -> Any:
        """Return the JSON at a path."""
        return requests.get(f"{self.address}{path}", timeout=30).json()

    def resident_megabytes(self) -> float:
        """Return the memory that the process holds."""
        return float(self.process.memory_info().rss / 1e6)


@contextmanager
def serving(store: Store, *options: str, cores: Sequence[int] | None = None) -> Iterator[Server]:
    """Run the service with more options until the block ends, on some cores only where they are named.

    Raises RuntimeError with its output where it does not become ready.
    """
    port = int(np.random.default_rng().integers(*PORTS))
    line = [sys.executable, str(PROJECT / "run.py"), "--serve", "--serving.port", str(port), *options]
    if cores is not None:
        line = ["taskset", "--cpu-list", ",".join(map(str, cores)), *line]
    environment: Mapping[str, str] = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": store.uri}
    started = time.perf_counter()
    log = store.folder / "serve.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(line, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            _wait_until_ready(process, port, log)
            yield Server(port, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.perf_counter() + START_SECONDS
    while time.perf_counter() < until and process.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"run.py --serve is not ready:\n{log.read_text(encoding='utf-8')[-3000:]}")
