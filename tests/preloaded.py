"""A process that has imported what every command needs; commands and programs run in children forked from it."""

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

# none of the project's own, and not ZenML, which reads its environment when it is imported: with it the lines that a
# run logs were lost
MODULES = (
    "tensorflow",
    "keras",
    "mlflow.tensorflow",
    "great_expectations",
    "seaborn",
    "sklearn.metrics",
    "imagehash",
    "mlflow.store.tracking.sqlalchemy_store",
    "markdown_it",
    "pydantic_settings",
)
START_SECONDS = 240
# what it changes in the environment, and the words that run.py gets; or `-c`, a program, and the program's own words
Command = tuple[dict[str, str], list[str]]


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
        return self.run_at_once(folder, environment, commands, [output], seconds)[0]

    def run_at_once(
        self, folder: Path, environment: dict[str, str], commands: Sequence[Command], outputs: Sequence[Path],
        seconds: float = 600,
    ) -> list[list[tuple[int, str]]]:  # fmt: skip
        """Do what `run` does in several processes at once, each with an output of its own."""
        task = {"folder": str(folder), "environment": environment, "commands": commands}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([{**task, "output": str(output)} for output in outputs]) + "\n")
        self.process.stdin.flush()
        self._wait(seconds)
        return [read_output(output, len(commands)) for output in outputs]

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


def read_output(output: Path, count: int) -> list[tuple[int, str]]:
    """Return the code of each of so many commands, and what it said."""
    *pieces, rest = output.read_text(encoding="utf-8").split("\x1e")
    done = [(int(code), said) for said, code in zip(pieces[::2], pieces[1::2], strict=True)]
    assert len(done) == count, f"{pieces}{rest}"
    return done


def main() -> None:
    sys.path.pop(0)  # the folder of this file
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as run.py has it
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        children = []
        for task in json.loads(line):
            child = os.fork()
            if not child:
                run_commands(task)
                gc.freeze()  # as run.py does
                return  # so that what was registered for the end of a process is done
            children.append(child)
        for child in children:
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
    main()
