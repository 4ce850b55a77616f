"""The service as a process: its start, its memory, its end, and clients that mean it no good."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from tests.conftest import KEPT, PROJECT
from tests.serving.bundles import write_tiny_bundle

pytestmark = pytest.mark.serving
START_SECONDS, MEGABYTES = 4.0, 250
HEAVY = ("zenml", "mlflow", "tensorflow", "keras", "pandas", "sklearn", "scipy")


@dataclass
class Process:
    """A service that was started, its address, and how long it took until it answered."""

    started: subprocess.Popen[str]
    url: str
    seconds: float
    log: Path

    @property
    def megabytes(self) -> float:
        return float(psutil.Process(self.started.pid).memory_info().rss) / 1e6


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}


@contextmanager
def served(folder: Path, *words: str, port: int = 0) -> Iterator[Process]:
    """Run `run.py --serve` until the block ends."""
    port = port or free_port()
    places = ["--state_folder", str(folder / "state"), f"--serving.port={port}"]
    line = [sys.executable, "run.py", "--serve", *places, *words]
    log = folder / "log.txt"
    with log.open("w") as written:
        began = time.monotonic()
        started = subprocess.Popen(line, cwd=PROJECT, env=environment(), stdout=written, stderr=written, text=True)
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                with suppress(httpx.TransportError):
                    httpx.get(f"{url}/v2/health/ready")
                    break
                assert started.poll() is None, log.read_text()
                assert time.monotonic() - began < 60
                time.sleep(0.02)
            yield Process(started, url, time.monotonic() - began, log)
        finally:
            started.kill()
            started.wait()


def address(process: Process) -> tuple[str, int]:
    return "127.0.0.1", int(process.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "content").mkdir()
    return write_tiny_bundle(folder / "champion.zip", folder / "content", content)


@pytest.fixture
def words(bundle: Path) -> list[str]:
    return ["--serving.bundle", str(bundle)]


def test_it_answers_soon_after_its_start_and_stays_small(tmp_path: Path, words: list[str], photo: bytes) -> None:
    with served(tmp_path, *words), suppress(Exception):
        pass  # the first start compiles and fills the disk's cache
    with served(tmp_path, *words) as process, httpx.Client(base_url=process.url) as client:
        statuses = {client.post("/v1/emotions", content=photo).status_code for _ in range(200)}
        megabytes = process.megabytes

    assert statuses == {200}
    assert process.seconds < START_SECONDS
    assert megabytes < MEGABYTES


def test_none_of_the_large_libraries_is_imported(bundle: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from commands import main, serve
from configs.loading import load_settings
from serving import app, model_sources, server, service
from stack.champion_lookup import open_lookup
settings = load_settings([], {{}})
model = model_sources.load_bundle(Path({str(bundle)!r}), "serving.bundle", settings)
none = Path({str(bundle.parent)!r}, "none.db")
models = model_sources.RegisteredModels(open_lookup(f"sqlite:///{{none}}"), settings)
app.build_app(service.Service(settings, model, models, print))
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered_before_it_ends(
    tmp_path: Path, words: list[str], photo: bytes, stop: signal.Signals
) -> None:
    with served(tmp_path, *words) as process, socket.create_connection(address(process)) as one:
        head = f"POST /v1/emotions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n".encode()
        one.sendall(head + photo[:-10])
        time.sleep(0.2)
        process.started.send_signal(stop)
        time.sleep(0.2)
        one.sendall(photo[-10:])
        one.settimeout(10)
        answer = b""
        while block := one.recv(65536):
            answer += block
        code = process.started.wait(20)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"faces"' in answer
    assert code == 0


def test_a_port_in_use_ends_it_with_a_sentence(tmp_path: Path, words: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "run.py", "--serve", "--state_folder", str(tmp_path), f"--serving.port={port}", *words],
            cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "--serving.port" in done.stderr


def test_clients_that_send_their_head_or_body_slowly_are_closed_and_others_are_answered(
    tmp_path: Path, words: list[str], photo: bytes
) -> None:
    with served(tmp_path, *words, "--serving.timeout_seconds=1") as process, ExitStack() as open_ones:
        heads = [open_ones.enter_context(socket.create_connection(address(process))) for _ in range(50)]
        for number, one in enumerate(heads):
            one.sendall(b"POST /v1/emotions HTTP/1.1\r\nHost: localhost\r\n")
            if number % 2:
                one.sendall(b"Content-Length: 1000\r\n\r\nx")
        statuses = {httpx.post(f"{process.url}/v1/emotions", content=photo).status_code for _ in range(5)}
        time.sleep(1.5)
        ends = []
        for one in heads:
            one.settimeout(5)
            try:
                ends.append(one.recv(65536))
            except ConnectionResetError:
                ends.append(b"")

    assert statuses == {200}
    assert all(end == b"" or end.startswith(b"HTTP/1.1 408") for end in ends)


def test_thousands_of_connections_leave_it_answering(tmp_path: Path, words: list[str], photo: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, wanted + 500), hard))
    count = min(hard, wanted + 500) - 500
    try:
        with served(tmp_path, *words, "--serving.max_connections=500", "--serving.timeout_seconds=2") as process:
            with ExitStack() as open_ones:
                for _ in range(count):
                    with suppress(OSError):
                        open_ones.enter_context(socket.create_connection(address(process), timeout=2))
                megabytes = process.megabytes
            time.sleep(2.5)
            status = httpx.post(f"{process.url}/v1/emotions", content=photo, timeout=20).status_code
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert status == 200
    assert megabytes < MEGABYTES + 50


def test_many_callers_are_answered_or_told_to_come_back(tmp_path: Path, words: list[str], photo: bytes) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with served(tmp_path, *words, "--serving.max_requests=8") as process:

        def ask(_: int) -> int:
            with httpx.Client(base_url=process.url, timeout=60) as client:
                return {client.post("/v1/emotions", content=photo).status_code for _ in range(5)}.pop()

        with ThreadPoolExecutor(64) as threads:
            statuses = set(threads.map(ask, range(64)))

    assert statuses <= {200, 503, 504}
    assert 200 in statuses
