"""A process that has imported what every command needs; commands run in children that are forked from it."""

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# none of the project's own, and not ZenML, which reads its environment when it is imported
MODULES = (
    "tensorflow",
    "keras",
    "mlflow.tensorflow",
    "great_expectations",
    "seaborn",
    "sklearn.metrics",
    "imagehash",
    "mlflow.store.tracking.sqlalchemy_store",
)
START_SECONDS = 120
Command = tuple[dict[str, str], list[str]]  # what it changes in the environment, and its words


class PreloadedProcess:
    """Starts in seconds what takes run.py ten: each `run` is a process of its own, with nothing left of others."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._wait(START_SECONDS)

    def run(
        self, folder: Path, environment: dict[str, str], commands: Sequence[Command], output: Path, seconds: float = 600
    ) -> list[tuple[int, str]]:
        """Give the run.py in `folder` one command after the other; return the code and output of each."""
        task = {"folder": str(folder), "environment": environment, "commands": commands, "output": str(output)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        self._wait(seconds)
        *pieces, rest = output.read_text(encoding="utf-8").split("\x1e")
        done = [(int(code), said) for said, code in zip(pieces[::2], pieces[1::2], strict=True)]
        assert len(done) == len(commands), f"{pieces}{rest}"
        return done

    def close(self) -> None:
        """End the process, and a command that still runs."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _wait(self, seconds: float) -> None:
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.close()
            raise TimeoutError(f"no answer within {seconds:g} s")
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", "the preloaded process ended"


def main() -> None:
    sys.path.pop(0)  # the folder of this file
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as run.py has it
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run_commands(json.loads(line))
            return  # so that what was registered for the end of a process is done
        os.waitpid(child, 0)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def run_commands(task: dict[str, Any]) -> None:
    for stream, file, flags in ((0, os.devnull, os.O_RDONLY), (1, task["output"], os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(file, flags, 0o600), stream)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(task["environment"])
    os.chdir(task["folder"])
    sys.path.insert(0, task["folder"])
    run: Any = importlib.import_module("run")
    for environment, words in task["commands"]:
        os.environ.update(environment)
        code = run.main(words)
        for name in environment:
            del os.environ[name]
        sys.stdout.write(f"\x1e{code}\x1e")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
