"""Servers as processes on the loopback: started, killed and started again by the tests."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 120  # a quiet machine needs a fifth of it
STOP_SECONDS = 10
# a server ends with the tests, also where they are killed
WITH_THE_TESTS = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def free_ports(count: int) -> list[int]:
    """Return ports on which nothing listens."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


class ServerProcess:
    """A server in a process group of its own; what it says is in `log`."""

    def __init__(
        self, line: Sequence[str], folder: Path, ready: Callable[[], bool], environment: Mapping[str, str] | None = None
    ) -> None:
        self.line, self.folder, self.ready = [*WITH_THE_TESTS, *line], folder, ready
        self.environment, self.log = {**os.environ, **(environment or {})}, folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError with its last words where it is not."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.line, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                said = self.log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{' '.join(self.line)} did not start: {said}")
            time.sleep(0.2)

    def kill(self) -> None:
        """End it as a crash of its machine would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it keep its connections and answer nothing."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        self._end(signal.SIGTERM)

    def _end(self, with_signal: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, with_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


@contextlib.contextmanager
def running(server: ServerProcess) -> Iterator[ServerProcess]:
    """Start a server for a block, and end it with the block."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


def answers(url: str, statuses: Sequence[int] = (200,)) -> Callable[[], bool]:
    """Return a function that says whether a web server answers with one of the statuses."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status in statuses
        except urllib.error.HTTPError as error:
            return error.code in statuses
        except OSError:
            return False

    return ask
