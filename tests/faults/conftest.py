"""Fixtures of the faults: runs that can be watched and killed, small disks, and an MLflow server of our own."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
import yaml

from tests.conftest import PROJECT, TOY, command

SECONDS = 300  # after which a test gives up waiting; a quiet machine needs a tenth of it
SHORT = {
    **TOY,
    "classifier": {**TOY["classifier"], "width": 1},  # epochs that are long enough to be killed in
    "training": {
        **TOY["training"],
        "phases": [{"name": "all", "trainable": ["all"], "epochs": 6, "learning_rate": 0.001, "schedule": "constant",
                    "warmup_epochs": 0, "patience": 6}],
    },
    "promotion": {**TOY["promotion"], "allow_drawn": True},
}  # fmt: skip


class WatchedRun:
    """A run of run.py in a process group of its own, whose output is read as it comes."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        line, own, self.state, self.reports = command(folder, *arguments)
        self.output = ""
        self.process = subprocess.Popen(
            line, env={**own, **environment}, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.reading = Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line

    def wait_for(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not happened():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)

    def says(self, text: str) -> Callable[[], bool]:
        return lambda: text in self.output

    def is_in(self, step: str) -> Callable[[], bool]:
        """Return a function that asks ZenML's store whether a step runs that did not when this was called."""
        before = self._started(step)
        return lambda: self._started(step) > before

    def _started(self, step: str) -> int:
        file = self.state / "zenml" / "local_stores" / "default_zen_store" / "zenml.db"
        try:
            database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
            try:
                found = database.execute("SELECT count(*) FROM step_run WHERE name = ? AND status <> 'cached'", (step,))
                return int(found.fetchone()[0])
            finally:
                database.close()
        except sqlite3.Error:  # the store is being made
            return 0

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reading.join()

    def end(self) -> int:
        code = self.process.wait(SECONDS)
        self.reading.join()
        return code


@pytest.fixture(scope="session")
def short_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "short.yaml"
    path.write_text(yaml.safe_dump(SHORT), encoding="utf-8")
    return path


def start_runs(short_yaml: Path) -> Iterator[Callable[..., WatchedRun]]:
    """Give a function that starts a short training; what still runs in the end is killed."""
    started: list[WatchedRun] = []

    def begin(folder: Path, *arguments: str, **environment: str) -> WatchedRun:
        started.append(WatchedRun(folder, "--config", str(short_yaml), *arguments, **environment))
        return started[-1]

    yield begin
    for run in started:
        if run.process.poll() is None:
            run.kill()


@pytest.fixture(scope="module")
def start(short_yaml: Path) -> Iterator[Callable[..., WatchedRun]]:
    yield from start_runs(short_yaml)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a disk of so many megabytes, in memory; needs root."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        line = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk that others write to, to the last byte but `leave`; return the file that does it."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        while True:
            opened.write(bytes(65536))
    os.truncate(file, file.stat().st_size - leave)
    return file


class Server:
    """An MLflow server on the loopback, which can go and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        line = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}",
            "--artifacts-destination", str(self.folder / "served"),
        ]  # fmt: skip
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.process = subprocess.Popen(
            line, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2)
                return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError("the MLflow server did not start")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    if made.process.poll() is None:
        made.kill()
