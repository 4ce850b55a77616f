"""A process that has imported what every command needs; commands and programs run in children forked from it."""

import functools
import gc
import importlib
import importlib.metadata
import io
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

# none of the project's own, which lie in the folder of a command; of ZenML, where its store is comes with opening it
MODULES = (
    "tensorflow",
    "keras",
    "mlflow.tensorflow",
    "great_expectations",
    "seaborn",
    "sklearn.metrics",
    "imagehash",
    "mlflow.store.tracking.sqlalchemy_store",
    "zenml.pipelines",
    "zenml.zen_stores.sql_zen_store",
    "zenml.orchestrators.local.local_orchestrator",
    "zenml.integrations.mlflow.flavors",
    "zenml.integrations.mlflow.experiment_trackers",
    "zenml.log_stores.artifact.artifact_log_store",
    "markdown_it",
    "pydantic_settings",
)
START_SECONDS = 240
# what it changes in the environment, and the words that run.py gets; or `-c`, a program, and the program's own words
Command = tuple[dict[str, str], list[str]]


@dataclass(frozen=True)
class Child:
    """A process that was forked, and a connection that ends when it does."""

    connection: socket.socket
    number: int

    def ended(self, seconds: float = 0.0) -> bool:
        """Wait so long for its end; say whether it came."""
        return bool(select.select([self.connection], [], [], seconds)[0])

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if not self.ended():
            os.kill(self.number, signal.SIGKILL)
            assert self.ended(60), f"process {self.number} does not end"


class PreloadedProcess:
    """Starts in a second what takes run.py ten: each `run` is a process of its own, with nothing left of others.

    All workers of a test run share the process. It ends when nobody is connected to it any more.
    """

    def __init__(self, environment: dict[str, str], door: Path) -> None:
        """Connect to the process that listens at the socket `door`, or start it; only one worker at a time may."""
        self.door = door
        connected = self._connect()
        if connected is None:
            door.unlink(missing_ok=True)
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(door)], env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            started = select.select([self.process.stdout], [], [], START_SECONDS)[0]
            assert started, "the preloaded process does not start"
            connected = self._connect()
        assert connected is not None, "the preloaded process ended"
        self.connected = connected

    def run(
        self, folder: Path, environment: dict[str, str], commands: Sequence[Command], output: Path, seconds: float = 600
    ) -> list[tuple[int, str]]:
        """Give the run.py in `folder` one command after the other; return the code and output of each."""
        return self.run_at_once(folder, environment, commands, [output], seconds)[0]

    def run_at_once(
        self, folder: Path, environment: dict[str, str], commands: Sequence[Command], outputs: Sequence[Path],
        seconds: float = 600,
    ) -> list[list[tuple[int, str]]]:  # fmt: skip
        """Do what `run` does in several processes at once, each with an output of its own."""
        deadline = time.monotonic() + seconds
        children = [self.start(folder, environment, commands, output) for output in outputs]
        for child in children:
            if not child.ended(max(0.0, deadline - time.monotonic())):
                child.kill()
                raise TimeoutError(f"no answer within {seconds:g} s")
            child.connection.close()
        return [read_output(output, len(commands)) for output in outputs]

    def start(self, folder: Path, environment: dict[str, str], commands: Sequence[Command], output: Path) -> Child:
        """Start a process that does what `run` says, and do not wait for its end."""
        task = {"folder": str(folder), "environment": environment, "commands": commands, "output": str(output)}
        connection = self._connect()
        assert connection is not None, "the preloaded process ended"
        connection.sendall(json.dumps(task).encode() + b"\n")
        return Child(connection, int(connection.makefile().readline()))

    def close(self) -> None:
        """Leave the process; the last to leave ends it."""
        self.connected.close()

    def _connect(self) -> socket.socket | None:
        """Return a connection, which ends when the child at its other end has; None where nobody listens."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self.door))
        except OSError:
            connection.close()
            return None
        return connection


def read_output(output: Path, count: int) -> list[tuple[int, str]]:
    """Return the code of each of so many commands, and what it said."""
    *pieces, rest = output.read_text(encoding="utf-8").split("\x1e")
    done = [(int(code), said) for said, code in zip(pieces[::2], pieces[1::2], strict=True)]
    assert len(done) == count, f"{pieces}{rest}"
    return done


class Console(io.FileIO):
    """What run.py does not replace by a stream of its own, so that ZenML's handlers write to the one that is in use."""


def leave_writing_to_the_system() -> None:
    """Have SQLite not wait until the disk has what is committed, which takes 6 ms, a thousand times in a training."""

    @event.listens_for(Engine, "connect")
    def change(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")


def preload() -> None:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        buffer = io.BufferedWriter(Console(descriptor, "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=name == "stderr"))
    for module in MODULES:
        importlib.import_module(module)
    for maker in map(importlib.import_module, ("importlib.metadata", "importlib_metadata")):
        maker.packages_distributions = functools.cache(maker.packages_distributions)  # type: ignore[attr-defined]
        maker.packages_distributions()
    leave_writing_to_the_system()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as run.py has it


def main(path: str) -> None:
    """Fork a child for each task that comes in, until nobody is connected any more."""
    sys.path.pop(0)  # the folder of this file
    preload()
    children: set[int] = set()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        connected = [door.accept()[0]]
        while connected:
            for ready in select.select([door, *connected], [], [])[0]:
                if ready is door:
                    connected.append(door.accept()[0])
                    continue
                connected.remove(ready)
                task = ready.makefile().readline()
                child = os.fork() if task else None
                if child == 0:
                    door.close()
                    os.dup(ready.fileno())  # open until the process has ended, which its other end waits for
                    ready.sendall(f"{os.getpid()}\n".encode())
                    run_commands(json.loads(task))
                    gc.freeze()  # as run.py does
                    return  # so that what was registered for the end of a process is done
                ready.close()
                children |= {child} if child else set()
            children -= {child for child in children if os.waitpid(child, os.WNOHANG)[0]}
    for child in children:
        os.kill(child, signal.SIGKILL)


def run_commands(task: dict[str, Any]) -> None:
    for stream, file, flags in ((0, os.devnull, os.O_RDONLY), (1, task["output"], os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(file, flags, 0o600), stream)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(task["environment"])
    os.chdir(task["folder"])
    sys.path.insert(0, task["folder"])
    source_root: Any = importlib.import_module("zenml.utils.source_utils")
    source_root.set_custom_source_root(task["folder"])  # which run.py has ZenML read when it is imported
    for environment, words in task["commands"]:
        os.environ.update(environment)
        code = run_program(*words[1:]) if words[0] == "-c" else importlib.import_module("run").main(words)
        for name in environment:
            del os.environ[name]
        sys.stdout.write(f"\x1e{code}\x1e")
        sys.stdout.flush()


def run_program(program: str, *words: str) -> int:
    sys.argv[:] = ["-c", *words]
    exec(program, {"__name__": "__main__"})
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
