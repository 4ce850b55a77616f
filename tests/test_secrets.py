"""Secrets are planted where people keep them; then everything that a run wrote or said is searched for them."""

import base64
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from tests.conftest import FinishedRun

USER, PASSWORD, TOKEN = "keeper", "hush-password-5f1c7", "hush-token-93ad2"
PLANTED = {
    "KAGGLE_USERNAME": "keeper",
    "KAGGLE_KEY": "hush-kaggle-0b7e4",
    "AWS_SECRET_ACCESS_KEY": "hush-amazon-c8d16",
    "FACE_EMOTION__ALERTS__WEBHOOK": "http://someone:hush-basic-77a31@127.0.0.1:9/hush-path-4e2b9?key=hush-query-d0f58",
}
SECRETS = (PASSWORD, TOKEN, "hush-kaggle-0b7e4", "hush-amazon-c8d16", "hush-basic-77a31", "hush-path-4e2b9",
           "hush-query-d0f58")  # fmt: skip


def forms(secret: str) -> set[bytes]:
    """Return a secret as it stands, in an address, and in base64 at each of the three places in a group."""
    written = {secret.encode(), quote(secret, safe="").encode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode())
        written.add(encoded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6])
    return written


def leaks(folder: Path, said: str = "") -> list[str]:
    """Return every file below a folder, or the console, that holds one of the secrets in any form."""
    sought = {form: secret for secret in SECRETS for form in forms(secret)}
    places = {"console": said.encode()}
    places |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [f"{place}: {secret}" for place, content in places.items() for form, secret in sought.items()
            if form in content]  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A real MLflow server behind a door that asks who one is."""

    folder: Path
    port: int
    asked: list[str]


def door_to(behind: int, asked: list[str]) -> type[BaseHTTPRequestHandler]:
    """Return a door to a server at a port, which notes down who asks and lets in who is known."""
    expected = {f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}", f"Bearer {TOKEN}"}

    class Door(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            who = self.headers.get("Authorization", "nobody")
            asked.append(who)
            if who not in expected:
                self.send_error(401)
                return
            inside = http.client.HTTPConnection("127.0.0.1", behind, timeout=60)
            headers = {key: value for key, value in self.headers.items() if key not in ("Host", "Authorization")}
            inside.request(self.command, self.path, body, headers)
            said = inside.getresponse()
            content = said.read()
            self.send_response(said.status)
            self.send_header("Content-Type", said.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            """Stay quiet."""

    return Door


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        behind = free.getsockname()[1]
    line = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
            "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(behind),
            "--workers", "1"]  # fmt: skip
    asked: list[str] = []
    with (folder / "log.txt").open("wb") as log:
        quick = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else it starts ten more processes
        process = subprocess.Popen(line, stdout=log, stderr=log, env=quick)
        try:
            deadline = time.monotonic() + 180
            while not answers(behind):
                assert process.poll() is None, (folder / "log.txt").read_text()
                assert time.monotonic() < deadline, "the MLflow server did not start"
                time.sleep(0.5)
            with ThreadingHTTPServer(("127.0.0.1", 0), door_to(behind, asked)) as door:
                Thread(target=door.serve_forever, daemon=True).start()
                yield Server(folder, door.server_port, asked)
                door.shutdown()
        finally:
            process.terminate()
            process.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def run_with(run_toy: Callable[..., list[FinishedRun]]) -> Callable[..., FinishedRun]:
    """Return a function that runs a pipeline in an environment that holds the planted secrets."""

    def run(folder: Path, environment: dict[str, str], pipeline: str) -> FinishedRun:
        return run_toy(folder, ["--pipeline", pipeline], environment={**PLANTED, **environment})[0]

    return run


@pytest.fixture(scope="module")
def trained(
    server: Server, run_with: Callable[..., FinishedRun], tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    uri = f"http://{USER}:{PASSWORD}@127.0.0.1:{server.port}"
    return run_with(tmp_path_factory.mktemp("run"), {"MLFLOW_TRACKING_URI": uri}, "training")


def test_a_training_with_a_login_in_the_tracking_uri_leaves_no_secret_anywhere(
    trained: FinishedRun, server: Server
) -> None:
    assert trained.code == 3, trained.output
    assert "the faces are drawn" in trained.last_lines()["held"]  # which are promoted only where the settings allow it
    assert any(who.startswith("Basic ") for who in server.asked)
    assert leaks(trained.state.parent, trained.output) == []
    assert leaks(server.folder) == []


def test_a_token_of_the_environment_is_sent_and_never_kept(
    trained: FinishedRun, server: Server, run_with: Callable[..., FinishedRun], tmp_path: Path
) -> None:
    server.asked.clear()
    environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.port}", "MLFLOW_TRACKING_TOKEN": TOKEN}

    done = run_with(tmp_path, environment, "rollback")

    assert done.code == 2, done.output
    assert "has no champion" in done.output  # so the server was asked, and answered
    assert f"Bearer {TOKEN}" in server.asked
    assert leaks(tmp_path, done.output) == []
    assert leaks(server.folder) == []


def test_a_server_that_turns_away_is_named_without_the_login(
    server: Server, run_with: Callable[..., FinishedRun], tmp_path: Path
) -> None:
    wrong = {"MLFLOW_TRACKING_URI": f"http://{USER}:{TOKEN}@127.0.0.1:{server.port}"}

    done = run_with(tmp_path, wrong, "rollback")

    assert done.code != 0
    assert leaks(tmp_path, done.output) == []
