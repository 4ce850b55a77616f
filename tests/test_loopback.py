"""Whatever this project starts that listens, listens on this machine's loopback only."""

import os
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack.local_stack import Tracking
from tests.conftest import PROJECT

LISTENERS = re.compile(r"mlflow\W+(ui|server)\b|models serve|\.bind\(|HTTPServer\(|0\.0\.0\.0|::0")


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Return the addresses on which a process or one of its children listens."""
    found = set()
    for one in (process, *process.children(recursive=True)):
        try:
            connections = one.net_connections(kind="inet")
        except psutil.Error:  # it ended meanwhile
            continue
        found |= {(entry.laddr.ip, entry.laddr.port) for entry in connections if entry.status == psutil.CONN_LISTEN}
    return found


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[psutil.Process, int]]:
    """Start the UI by the command that a run prints as its last line; return the process and its port."""
    folder = tmp_path_factory.mktemp("ui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = shlex.split(Tracking(f"sqlite:///{folder / 'mlflow.db'}", "face_emotion").ui_command)
    line += ["--port", str(port), "--workers", "1"]
    with (folder / "log.txt").open("wb") as log:
        started = subprocess.Popen(line, cwd=folder, env=os.environ, stdout=log, stderr=log)
        process = psutil.Process(started.pid)
        try:
            deadline = time.monotonic() + 180
            while port not in {number for _, number in listening(process)}:
                assert started.poll() is None, (folder / "log.txt").read_text()
                assert time.monotonic() < deadline, "the UI did not start"
                time.sleep(0.5)
            yield process, port
        finally:
            for one in (*process.children(recursive=True), process):
                one.terminate()
            started.wait(timeout=60)


def test_the_ui_that_a_run_names_listens_on_loopback_only(ui: tuple[psutil.Process, int]) -> None:
    process, port = ui

    found = listening(process)

    assert ("127.0.0.1", port) in found
    assert {address for address, _ in found} == {"127.0.0.1"}


def test_make_ui_listens_on_loopback() -> None:
    made = subprocess.run(["make", "--dry-run", "ui"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout

    (line,) = [line for line in made.splitlines() if "mlflow ui" in line]
    assert "--host 127.0.0.1 --port 5000" in line


def test_nothing_else_in_the_project_listens() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    looked = [name for name in tracked.split() if name.endswith((".py", ".yml", "Makefile", ".md", "run"))]
    named = {name for name in looked if not name.startswith("tests/")
             and LISTENERS.search(Path(PROJECT, name).read_text(encoding="utf-8"))}  # fmt: skip

    # the two above, what looks whether their port is free, for a moment and on loopback too, and the service, whose
    # address tests/serving/test_access.py is about; the page publishes the service's port in a container
    own = {"Makefile", "stack/local_stack.py", "commands/port.py", "serving/server.py"}
    assert named == {*own, "docs/operations.md"}
