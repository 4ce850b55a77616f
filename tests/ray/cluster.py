"""A Ray cluster of several nodes on this machine, in a network namespace of its own that has a loopback and no more."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
RAY = Path(sys.executable).with_name("ray")
PORT = 6379  # of the head; the namespace has its own
SECONDS_TO_START = 90.0


@dataclass
class Cluster:
    """A head that computes nothing and workers, each a node with an address of its own."""

    namespace: str
    folder: Path
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{PORT}"

    def inside(self, command: Sequence[str], **changes: str) -> subprocess.Popen[str]:
        """Start a process in the namespace; both of its outputs come as text by `communicate`."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command],
            env={**self.environment, **changes}, cwd=PROJECT, start_new_session=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def add_nodes(self, workers: Sequence[int]) -> None:
        """Start a head without slots, and workers with so many each."""
        self.add_node(0, head=True)
        for slots in workers:
            self.add_node(slots)

    def add_node(self, slots: int, head: bool = False) -> None:
        own = f"127.0.0.{len(self.nodes) + 1}"
        where = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head else [f"--address={self.address}"]
        sizes = ["--object-store-memory=100000000", "--memory=4000000000", f"--num-cpus={slots}"]
        path = self.folder / f"node{len(self.nodes)}.log"
        with path.open("wb") as log:
            started = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, str(RAY), "start", *where, f"--node-ip-address={own}", *sizes,
                 *([f"--temp-dir={self.folder}/r"] if head else []), "--disable-usage-stats", "--block"],
                env=self.environment, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.nodes.append(started)
        deadline = time.monotonic() + SECONDS_TO_START
        while b"Ray runtime started" not in path.read_bytes():  # one by one: two that start at once may miss each other
            if started.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"a node did not start: {path.read_text()[-2000:]}")
            time.sleep(0.2)

    def raylet_with(self, name: str) -> int:
        """Return the process id of the raylet on whose machine a worker of that name runs."""
        lines = self.processes()
        stats = [Path(f"/proc/{pid}/stat").read_text() for pid in self.workers_with(name)]
        parents = [int(stat.rpartition(")")[2].split()[1]) for stat in stats]
        return next(pid for pid in parents if "/raylet/raylet " in lines[pid])

    def workers_with(self, name: str) -> list[int]:
        """Return the process ids of the workers of that name."""
        return [pid for pid, line in self.processes().items() if name in line and line.startswith("ray::")]

    def processes(self) -> dict[int, str]:
        listed = subprocess.run(["ip", "netns", "pids", self.namespace], check=True, capture_output=True, text=True)
        lines = {}
        for pid in map(int, listed.stdout.split()):
            with contextlib.suppress(OSError):
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return lines

    def stop(self) -> None:
        """Kill every process of the namespace, and remove it."""
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        for node in self.nodes:
            node.wait(10)
        subprocess.run(["ip", "netns", "delete", self.namespace], check=True)


@contextmanager
def namespace() -> Iterator[Cluster]:
    """Make a network namespace with a loopback, for nodes with token authentication; what runs in it ends with it."""
    name = f"ray-{os.getpid()}-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets' paths must be short
        token = Path(folder, "token")
        token.write_text(secrets.token_hex(32))
        own: dict[str, str] = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
        }
        subprocess.run(["ip", "netns", "add", name], check=True)
        made = Cluster(name, Path(folder), own)
        try:
            subprocess.run(["ip", "netns", "exec", name, "ip", "link", "set", "lo", "up"], check=True)
            yield made
        finally:
            made.stop()


@contextmanager
def cluster(workers: Sequence[int]) -> Iterator[Cluster]:
    """Start a head and workers with so many slots each; stop them at the end."""
    with namespace() as made:
        made.add_nodes(workers)
        yield made
