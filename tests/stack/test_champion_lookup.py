"""The registry as the service reads it equals what MLflow's own client says, of a file and of a server."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from configs.errors import UserError
from stack.champion_lookup import ChampionLookup, LookupFailedError, NotThereError, open_lookup

NAME = "emotions"


def register(uri: str, folder: Path) -> None:
    """Log and register two versions as a training does: one that was deleted since, and the champion."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment("served", f"{folder}" if uri.startswith("sqlite") else None)
    client.create_registered_model(NAME)
    for number in ("1", "2"):
        run = client.create_run(experiment)
        client.log_metric(run.info.run_id, "test/accuracy", float(number) / 10)
        client.log_metric(run.info.run_id, "system/cpu", 5.0)
        client.log_text(run.info.run_id, f"onnx {number}", "onnx/model.onnx")
        client.log_text(run.info.run_id, "metadata: {class_names: [a, b]}", "model/MLmodel")
        source = f"{run.info.artifact_uri}/model"
        version = client.create_model_version(NAME, source, run.info.run_id, tags={"promoted_at": number})
        assert str(version.version) == number
    client.set_registered_model_alias(NAME, "champion", "2")
    client.delete_model_version(NAME, "1")


def check_equals_mlflow(lookup: ChampionLookup) -> None:
    number = lookup.find_alias(NAME, "champion")
    assert number == "2"
    found = lookup.find_version(NAME, number)
    assert found.tags == {"promoted_at": "2"}
    assert lookup.metrics(found.run_id) == {"test/accuracy": 0.2}
    assert lookup.read(found.run_place, "onnx/model.onnx", 1000) == b"onnx 2"
    assert lookup.read(found.model_place, "MLmodel", 1000) == b"metadata: {class_names: [a, b]}"
    assert lookup.read(found.run_place, "onnx/model.int8.onnx", 1000) is None
    with pytest.raises(LookupFailedError, match=r"more than 3 bytes"):
        lookup.read(found.run_place, "onnx/model.onnx", 3)
    assert lookup.find_alias(NAME, "challenger") is None
    assert lookup.find_alias("others", "champion") is None
    for missing in ("1", "9"):
        with pytest.raises(NotThereError):
            lookup.find_version(NAME, missing)


@pytest.mark.serving
def test_an_sqlite_file_is_read_as_mlflow_reads_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    register(uri, tmp_path / "artifacts")

    lookup = open_lookup(uri)

    check_equals_mlflow(lookup)
    assert lookup.page(NAME, "2") is None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path / 'server.db'}",
        "--artifacts-destination",
        str(tmp_path / "a"),
    ]
    line = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *store,
    ]
    with (tmp_path / "log.txt").open("w") as log:
        started = subprocess.Popen(line, stdout=log, stderr=log, cwd=tmp_path)
        try:
            uri, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
            while True:
                with suppress(requests.RequestException):
                    if requests.get(f"{uri}/health", timeout=2).ok:
                        break
                assert time.monotonic() < deadline, (tmp_path / "log.txt").read_text()
                time.sleep(0.3)
            yield uri
        finally:
            started.terminate()
            started.wait(30)


@pytest.mark.serving
def test_a_server_is_read_as_mlflow_reads_it(server: str, tmp_path: Path) -> None:
    register(server, tmp_path)

    lookup = open_lookup(server)

    check_equals_mlflow(lookup)
    assert lookup.page(NAME, "2") == f"{server}/#/models/emotions/versions/2"


def test_a_store_that_is_not_there_yet_has_no_champion_and_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"

    assert open_lookup(f"sqlite:///{file}").find_alias(NAME, "champion") is None
    assert not file.exists()


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"not a database" * 100)

    with pytest.raises(LookupFailedError, match=r"mlflow\.db"):
        open_lookup(f"sqlite:///{file}").find_alias(NAME, "champion")


def test_a_server_that_does_not_answer_is_named_without_a_login() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(LookupFailedError, match=f"http://127.0.0.1:{port}") as raised:
        open_lookup(f"http://someone:secret@127.0.0.1:{port}").find_alias(NAME, "champion")
    assert "secret" not in str(raised.value)


def test_another_kind_of_store_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match="MLflow server"):
        open_lookup("postgresql://host/mlflow")


@dataclass
class Answers:
    """What a server answers to everything: a status and a body."""

    status: int = 200
    body: str = ""
    address: str = ""


@pytest.fixture
def answers() -> Iterator[Answers]:
    told = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(told.body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        told.address = f"http://127.0.0.1:{listening.server_port}"
        yield told
        listening.shutdown()


@pytest.mark.parametrize(
    ("status", "code"), [(404, "RESOURCE_DOES_NOT_EXIST"), (400, "INVALID_PARAMETER_VALUE")], ids=["model", "alias"]
)
def test_a_server_without_the_model_or_the_alias_has_no_champion(answers: Answers, status: int, code: str) -> None:
    answers.status, answers.body = status, json.dumps({"error_code": code, "message": "not found"})

    assert open_lookup(answers.address).find_alias(NAME, "champion") is None


def test_a_metric_that_is_not_a_finite_number_is_left_out(answers: Answers) -> None:
    metrics = [{"key": "a", "value": 0.5}, {"key": "b", "value": "NaN"}, {"key": "c", "value": "-Infinity"}]
    answers.body = json.dumps({"run": {"data": {"metrics": metrics}}})

    assert open_lookup(answers.address).metrics("run") == {"a": 0.5}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "<h1>Not Found</h1>"),
        (404, '{"detail": "Not Found"}'),
        (404, '{"error_code": "ENDPOINT_NOT_FOUND"}'),
        (400, "[]"),
        (400, '{"error_code": "BAD_REQUEST"}'),
        (403, '{"error_code": "PERMISSION_DENIED"}'),
        (500, ""),
        (200, "<h1>Log in</h1>"),
        (200, "{}"),
        (200, '{"model_version": null}'),
        (200, "[]"),
    ],
)
def test_an_answer_that_is_not_mlflow_s_is_not_taken_for_a_store_without_a_champion(
    answers: Answers, status: int, body: str
) -> None:
    answers.status, answers.body = status, body
    lookup = open_lookup(answers.address)

    for ask in (
        lambda: lookup.find_alias(NAME, "champion"),
        lambda: lookup.find_version(NAME, "1"),
        lambda: lookup.metrics("run"),
    ):
        with pytest.raises(LookupFailedError, match=f"{answers.address} .*MLFLOW_TRACKING_URI") as raised:
            ask()
        assert not isinstance(raised.value, NotThereError)
