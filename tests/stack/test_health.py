import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import mlflow
import pytest

from stack import servers
from stack.findings import Finding, Status
from stack.health import check_artifacts, check_folder, check_store, look_at_store
from tests.stack.stores_at_rest import change, snapshot

pytestmark = pytest.mark.usefixtures("nothing_of_the_users")
EXPERIMENT = "face-emotion"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the installed MLflow with one experiment and a run."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    client = mlflow.MlflowClient(f"sqlite:///{path}")
    number = client.create_experiment(EXPERIMENT, artifact_location=(path.parent / "artifacts").as_uri())
    client.create_run(number)
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    path = tmp_path / "store" / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(made, path)
    return path


def artifacts_of(path: Path) -> Finding:
    return check_artifacts(uri_of(path), look_at_store(uri_of(path), EXPERIMENT), EXPERIMENT, path.parent)


def uri_of(path: Path) -> str:
    return f"sqlite:///{path}"


def test_a_good_store_is_described(store: Path) -> None:
    finding = check_store(uri_of(store), EXPERIMENT)

    assert finding.is_ok
    assert "which has the experiment face-emotion" in finding.found


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_looking_at_a_store_changes_no_file(journal: str, store: Path) -> None:
    change(store, f"PRAGMA journal_mode = {journal}")
    before = snapshot(store.parent)

    finding = check_store(uri_of(store), EXPERIMENT)
    artifacts_of(store)

    assert finding.is_ok
    assert snapshot(store.parent) == before


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    finding = check_store(uri_of(tmp_path / "state" / "mlflow" / "mlflow.db"), EXPERIMENT)

    assert finding.is_ok
    assert "which the first run makes" in finding.found
    assert not (tmp_path / "state").exists()


def test_a_store_where_no_folder_can_be_made_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    assert "cannot be written" in check_store(uri_of(tmp_path / "file" / "mlflow.db"), EXPERIMENT).found


def damage_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage_the_middle, id="pages overwritten"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:50_000]), id="cut off"),
        pytest.param(lambda path: path.write_text("this is not a database" * 100), id="no database"),
    ],
)
def test_a_damaged_store_has_a_way_out(damage: Callable[[Path], object], store: Path) -> None:
    damage(store)

    finding = check_store(uri_of(store), EXPERIMENT)

    assert finding.status is Status.WRONG
    assert "is damaged" in finding.found
    for way in ("restore a backup", f"mv {store} {store}.damaged", "--pipeline export", "--pipeline import"):
        assert way in finding.fix
    assert artifacts_of(store).subject == "MLflow artifacts"


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_store_that_another_process_holds_is_locked(lock: str, store: Path) -> None:
    other = sqlite3.connect(store, isolation_level=None)
    other.execute(f"BEGIN {lock}")
    try:
        finding = check_store(uri_of(store), EXPERIMENT)
    finally:
        other.close()

    assert finding.status is Status.LOCKED
    assert finding.found == f"{store} is locked by another process"
    assert f"fuser {store}" in finding.fix


def test_a_store_that_cannot_be_written_is_wrong(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)

    assert check_store(uri_of(store), EXPERIMENT).fix == f"chmod u+rw {store}"


def test_a_store_of_another_schema_is_wrong_and_stays_as_it_is(store: Path) -> None:
    change(store, "UPDATE alembic_version SET version_num = 'feedfeedfeed'")
    before = snapshot(store.parent)

    finding = check_store(uri_of(store), EXPERIMENT)

    assert finding.status is Status.WRONG
    assert "found version feedfeedfeed" in finding.found
    assert f"after a backup of it: {sys.executable} -m mlflow db upgrade {uri_of(store)}" in finding.fix
    assert "use the MLflow that wrote it" in finding.fix
    assert snapshot(store.parent) == before


def test_a_database_that_mlflow_would_change_is_wrong_and_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(tmp_path / "other.db", "CREATE TABLE books (title TEXT)")
    before = snapshot(tmp_path)

    class Client:  # MLflow's own takes many seconds to make its tables
        def __init__(self, uri: str) -> None:
            change(Path(uri.removeprefix("sqlite:///")), "CREATE TABLE experiments (name TEXT)")

        def get_experiment_by_name(self, name: str) -> None:
            return None

    monkeypatch.setattr(mlflow, "MlflowClient", Client)
    finding = check_store(uri_of(tmp_path / "other.db"), EXPERIMENT)

    assert finding.status is Status.WRONG
    assert "is not a store of MLflow" in finding.found
    assert snapshot(tmp_path) == before


def test_an_empty_store_is_left_to_the_first_run(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()

    finding = check_store(uri_of(tmp_path / "mlflow.db"), EXPERIMENT)

    assert finding.is_ok
    assert "which is empty" in finding.found
    assert (tmp_path / "mlflow.db").stat().st_size == 0


def test_a_deleted_experiment_is_restored_by_the_command_that_is_named(store: Path) -> None:
    change(store, f"UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = '{EXPERIMENT}'")

    finding = check_store(uri_of(store), EXPERIMENT)

    assert finding.found == "the experiment face-emotion was deleted"
    assert finding.fix.startswith(f"MLFLOW_TRACKING_URI={uri_of(store)} {sys.executable} -m mlflow experiments restore")


def test_a_uri_of_no_known_kind_is_wrong() -> None:
    assert "is neither a server nor a database" in check_store("nowhere", EXPERIMENT).found


class Server(BaseHTTPRequestHandler):
    """Answers as an MLflow server would, or with an error."""

    status = 200
    experiment: dict[str, str] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        asked = "get-by-name" in self.path
        self.send_response(self.status if asked else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"experiment": self.experiment} if asked else {}).encode())

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    server = HTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()

    def answer(stage: str, status: int = 200) -> str:
        monkeypatch.setattr(Server, "status", status)
        told = {"experiment_id": "7", "name": EXPERIMENT, "lifecycle_stage": stage}
        monkeypatch.setattr(Server, "experiment", told)
        return f"http://127.0.0.1:{server.server_port}"

    yield answer
    server.shutdown()
    server.server_close()


def test_a_server_is_asked_for_the_experiment(serve: Callable[..., str]) -> None:
    assert check_store(serve("active"), EXPERIMENT).is_ok
    assert "restore --experiment-id 7" in check_store(serve("deleted"), EXPERIMENT).fix
    assert "MLFLOW_TRACKING_USERNAME" in check_store(serve("", status=401), EXPERIMENT).fix


@pytest.mark.duration
def test_a_silent_server_is_found_out_soon_and_its_password_stays_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    with HTTPServer(("127.0.0.1", 0), Server) as never_serving:
        monkeypatch.setattr(servers, "NETWORK_SECONDS", 0.5)
        finding = check_store(f"http://me:secret@127.0.0.1:{never_serving.server_port}", EXPERIMENT)

    assert "no server answers at http://127.0.0.1" in finding.found
    assert "secret" not in finding.found + finding.fix
    assert time.monotonic() - started < 5


def test_artifacts_of_a_project_that_was_moved_are_missed(store: Path) -> None:
    change(store, f"UPDATE experiments SET artifact_location = 'file:///moved%20away' WHERE name = '{EXPERIMENT}'")

    finding = artifacts_of(store)

    assert finding.status is Status.WRONG
    assert finding.found.startswith("/moved away, where the experiment face-emotion keeps them, is gone")


def test_a_folder_is_judged_by_the_nearest_that_exists(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    assert check_folder("it", tmp_path / "a" / "b", "fix it").is_ok
    assert check_folder("it", tmp_path / "file" / "b", "fix it").fix == "fix it"
    assert not (tmp_path / "a").exists()


def test_looking_at_a_server_leaves_mlflows_patience_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        finding = check_store(f"http://127.0.0.1:{server.server_port}", EXPERIMENT)
        server.shutdown()

    assert "answers, but not as MLflow does" in finding.found
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ
