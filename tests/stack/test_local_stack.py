"""ZenML is opened in processes of their own: its client is one of a kind in a process."""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import importlib_metadata
import pytest

from configs.errors import UserError
from stack.local_stack import ensure_experiment, keep_login, list_packages_once, quiet_libraries
from tests.conftest import PROJECT, child_environment, command
from tests.preloaded import PreloadedProcess

# prepares the stack in the state folder once for each environment of a list, and prints what each came to
OPEN = """
import json, os, sys
from pathlib import Path
from configs.errors import UserError
from stack.local_stack import find_tracking_uri, prepare_environment, prepare_stack
state = Path(sys.argv[1])
state.mkdir(exist_ok=True)
prepare_environment(Path.cwd(), state, debug=False)
for environment in json.loads(sys.argv[2]):
    os.environ |= environment
    try:
        tracking = prepare_stack(state, "face-emotion")
    except UserError as error:
        print(json.dumps([f"error: {error}"]))
        continue
    from zenml.client import Client
    assert find_tracking_uri(state) == tracking.uri
    tracker = Client().active_stack.experiment_tracker.name
    print(json.dumps([tracking.uri, tracking.stack, len(Client().list_stacks().items), tracker]))
"""
# registers a stack of the user's where the environment says, and uses it
USERS_STACK = """
import json, sys
from pathlib import Path
from stack.local_stack import prepare_environment, prepare_stack
state = Path(sys.argv[1])
state.mkdir()
prepare_environment(Path.cwd(), state, debug=False)
from zenml.client import Client
from zenml.enums import StackComponentType as kind
client = Client()
server = {"tracking_uri": "http://127.0.0.1:5999", "tracking_token": "x"}
client.create_stack_component("mine", "mlflow", kind.EXPERIMENT_TRACKER, server)
parts = {kind.ORCHESTRATOR: "default", kind.ARTIFACT_STORE: "default", kind.EXPERIMENT_TRACKER: "mine"}
client.create_stack("mine", parts)
client.activate_stack("mine")
tracking = prepare_stack(state, "face-emotion")
print(json.dumps([tracking.uri, tracking.stack]))
"""


@pytest.fixture(scope="module")
def python(preloaded: PreloadedProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Any]]:
    """Return a function that runs a program in a process of its own, and returns the lists that it printed."""

    def run(code: str, home: Path, *arguments: str, **environment: str) -> list[Any]:
        quiet = {"ZENML_ANALYTICS_OPT_IN": "false", "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT)}
        given = {**child_environment(home), **quiet, **environment}
        output = tmp_path_factory.mktemp("program") / "output.txt"
        ((ended, said),) = preloaded.run(PROJECT, given, [({}, ["-c", code, *arguments])], output, seconds=120)
        assert ended == 0, said
        return [json.loads(line) for line in said.splitlines() if line.startswith("[")]

    return run


@dataclass(frozen=True)
class Opened:
    """What came of a state folder that was opened several times, by name, and whether the home stayed as it was."""

    folder: Path
    results: dict[str, list[object]]
    home_unchanged: bool


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.fixture(scope="module")
def silent() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def ours(
    server: str, silent: str, python: Callable[..., list[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Opened:
    """Open a stack of ours with each tracking URI, in a home folder where a ZenML of the user's lies."""
    folder = tmp_path_factory.mktemp("ours")
    uris = {"unknown": "nowhere", "first": "", "second": "", "elsewhere": f"sqlite:///{folder / 'elsewhere.db'}",
            "server": server, "silent": silent}  # fmt: skip
    users = folder / "home" / ".config" / "zenml"
    (users / "local_stores" / "default_zen_store").mkdir(parents=True)
    (users / "config.yaml").write_text("active_stack_id: 7d3a1c1e-0000-4000-8000-000000000000\nversion: 0.70.0\n")
    with contextlib.closing(sqlite3.connect(users / "local_stores" / "default_zen_store" / "zenml.db")) as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
    before = content(folder / "home")
    environments = json.dumps([{"MLFLOW_TRACKING_URI": uri} for uri in uris.values()])
    results = python(OPEN, folder / "home", str(folder / "state"), environments)
    return Opened(folder, dict(zip(uris, results, strict=True)), content(folder / "home") == before)


def test_the_first_run_makes_a_stack_inside_the_state_folder_and_the_second_uses_it(ours: Opened) -> None:
    uri = f"sqlite:///{ours.folder / 'state' / 'mlflow' / 'mlflow.db'}"

    assert ours.results["first"] == ours.results["second"] == [uri, "face_emotion", 2, "face_emotion_tracker"]


def test_a_zenml_in_the_home_folder_that_nobody_asks_for_stays_as_it_is(ours: Opened) -> None:
    assert ours.home_unchanged


def test_the_tracking_uri_of_the_environment_is_used(ours: Opened, server: str) -> None:
    assert ours.results["elsewhere"][0] == f"sqlite:///{ours.folder / 'elsewhere.db'}"
    assert (ours.folder / "elsewhere.db").is_file()
    assert ours.results["server"][0] == server


def test_a_tracking_server_must_answer(ours: Opened, silent: str) -> None:
    assert f"error: MLFLOW_TRACKING_URI {silent}: no server answers" in str(ours.results["silent"])


def test_a_tracking_uri_of_no_known_kind_is_named(ours: Opened) -> None:
    assert "error: MLFLOW_TRACKING_URI nowhere is refused" in str(ours.results["unknown"])


def test_a_zenml_of_the_user_is_used_if_the_environment_asks_for_it_and_is_never_migrated(
    ours: Opened, python: Callable[..., list[Any]], tmp_path: Path
) -> None:
    users = tmp_path / "zenml"
    shutil.copytree(ours.folder / "state" / "zenml", users)
    config = users / "config.yaml"
    config.write_text(config.read_text().replace(str(ours.folder / "state" / "zenml"), str(users)))
    (database,) = users.rglob("zenml.db")
    with contextlib.closing(sqlite3.connect(database)) as changed, changed:
        changed.execute("UPDATE alembic_version SET version_num = 'of another ZenML'")

    done = python(USERS_STACK, tmp_path / "home", str(tmp_path / "state"), ZENML_CONFIG_PATH=str(users))

    assert done == [["http://127.0.0.1:5999", "mine"]]
    with contextlib.closing(sqlite3.connect(database)) as after:
        assert after.execute("SELECT version_num FROM alembic_version").fetchone() == ("of another ZenML",)
    assert not (tmp_path / "state" / "zenml").exists()


def test_a_login_in_the_tracking_uri_moves_to_where_mlflow_looks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pass%2Fword@mlflow.example/base")

    keep_login()

    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example/base"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "pass/word")


def test_a_folder_that_is_too_long_for_the_tables_of_a_database_is_refused() -> None:
    with pytest.raises(UserError, match=r"postgresql://db/mlflow keeps 158 characters .* has 159; set --state_folder"):
        ensure_experiment("postgresql://me:secret@db/mlflow", "faces", f"file:///{'a' * 151}")


def test_a_user_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me@mlflow.example")

    with pytest.raises(UserError, match=r"https://mlflow\.example names a user without a password"):
        keep_login()


def test_runs_that_start_together_on_an_empty_store_do_not_hinder_each_other(
    tmp_path: Path, preloaded: PreloadedProcess
) -> None:
    _, environment, state, reports = command(tmp_path)
    words = ["--pipeline", "rollback", "--state_folder", str(state), "--tracking.reports_folder", str(reports)]
    outputs = [tmp_path / "one.txt", tmp_path / "other.txt"]

    done = preloaded.run_at_once(PROJECT, environment, [({}, words)], outputs)

    assert [code for ((code, _),) in done] == [2, 2], done
    assert all("error: face-emotion-classifier has no champion" in said for ((_, said),) in done), done


TEMPORARY = """
import sys
from pathlib import Path
from stack.local_stack import temporary_folder
folder = temporary_folder(Path(sys.argv[1]))
(folder / "model").write_text("")
print(folder, flush=True)
sys.stdin.read()
"""


def test_temporary_files_go_with_their_process_or_with_the_next_one(tmp_path: Path) -> None:
    def begin() -> tuple[subprocess.Popen[str], Path]:
        line = [sys.executable, "-c", TEMPORARY, str(tmp_path)]
        process = subprocess.Popen(line, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    (killed, left), (running, used) = begin(), begin()
    killed.kill()
    killed.wait()
    assert (left / "model").exists()

    ended, own = begin()
    assert not left.exists()
    assert (used / "model").exists()
    ended.communicate()
    running.communicate()

    assert not own.exists()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere TensorFlow chooses by itself")
@pytest.mark.parametrize(("given", "used"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_onednn_computes_unless_the_user_chose_otherwise(
    given: dict[str, str], used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(given))

    quiet_libraries(debug=False)

    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == used


def test_the_map_of_packages_is_made_once_for_zenml_and_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def packages_distributions() -> dict[str, list[str]]:
        made.append(1)
        return {"a": ["b"]}

    monkeypatch.setattr(importlib.metadata, "packages_distributions", packages_distributions)
    monkeypatch.setattr(importlib_metadata, "packages_distributions", None)

    list_packages_once()

    assert importlib.metadata.packages_distributions() == importlib_metadata.packages_distributions() == {"a": ["b"]}
    assert made == [1]
