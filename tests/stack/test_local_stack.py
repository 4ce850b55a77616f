"""Each test opens ZenML in a process of its own: its client is one of a kind in a process."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from tests.conftest import PROJECT, command

OPEN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from configs.errors import UserError
from stack.local_stack import prepare_environment, prepare_stack
state = Path(sys.argv[1])
state.mkdir(exist_ok=True)
prepare_environment(Path.cwd(), state, debug=False)
try:
    tracking = prepare_stack(state, "face-emotion")
    again = prepare_stack(state, "face-emotion")
except UserError as error:
    sys.exit(f"error: {error}")
assert tracking == again
from zenml.client import Client
print(tracking.uri, tracking.stack, len(Client().list_stacks().items), Client().active_stack.experiment_tracker.name)
"""
USERS_STACK = """
from zenml.client import Client
from zenml.enums import StackComponentType as kind
client = Client()
server = {"tracking_uri": "http://127.0.0.1:5999", "tracking_token": "x"}
client.create_stack_component("mine", "mlflow", kind.EXPERIMENT_TRACKER, server)
parts = {kind.ORCHESTRATOR: "default", kind.ARTIFACT_STORE: "default", kind.EXPERIMENT_TRACKER: "mine"}
client.create_stack("mine", parts)
client.activate_stack("mine")
"""


def python(code: str, home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    inherited = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    quiet = {"ZENML_ANALYTICS_OPT_IN": "false", "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
        env={**inherited, **quiet, "HOME": str(home), "PYTHONPATH": str(PROJECT), **environment},
    )  # fmt: skip


def test_the_first_run_makes_a_stack_inside_the_state_folder_and_the_second_uses_it(tmp_path: Path) -> None:
    done = python(OPEN, tmp_path / "home", str(tmp_path / "state"))

    uri = f"sqlite:///{tmp_path / 'state' / 'mlflow' / 'mlflow.db'}"
    assert done.stdout.split() == [uri, "face_emotion", "2", "face_emotion_tracker"], done.stderr
    assert not list((tmp_path / "home").rglob("*.db"))


def test_the_tracking_server_of_the_environment_is_used(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"

    done = python(OPEN, tmp_path / "home", str(tmp_path / "state"), MLFLOW_TRACKING_URI=uri)

    assert done.stdout.split()[0] == uri, done.stderr
    assert (tmp_path / "elsewhere.db").is_file()


def test_a_tracking_server_needs_no_login_but_must_answer(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        answered = python(OPEN, tmp_path / "home", str(tmp_path / "state"), MLFLOW_TRACKING_URI=uri)
        server.shutdown()
    silent = python(OPEN, tmp_path / "home", str(tmp_path / "state"), MLFLOW_TRACKING_URI=uri)

    assert answered.stdout.split()[0] == uri, answered.stderr
    assert f"error: MLFLOW_TRACKING_URI {uri}: no server answers" in silent.stderr


def test_a_tracking_uri_of_no_known_kind_is_named(tmp_path: Path) -> None:
    done = python(OPEN, tmp_path / "home", str(tmp_path / "state"), MLFLOW_TRACKING_URI="nowhere")

    assert "error: MLFLOW_TRACKING_URI nowhere is refused" in done.stderr


def test_the_users_active_stack_is_used_if_it_has_a_tracker(tmp_path: Path) -> None:
    made = python(USERS_STACK, tmp_path / "home")
    assert made.returncode == 0, made.stderr

    done = python(OPEN, tmp_path / "home", str(tmp_path / "state"))

    assert done.stdout.split() == ["http://127.0.0.1:5999", "mine", "2", "mine"], done.stderr


def test_runs_that_start_together_on_an_empty_store_do_not_hinder_each_other(tmp_path: Path) -> None:
    line, environment, *_ = command(tmp_path, "--pipeline", "rollback")
    started = [
        subprocess.Popen(
            line, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]

    said = [process.communicate(timeout=200)[0] for process in started]

    assert [process.returncode for process in started] == [2, 2], said
    assert all("error: face-emotion-classifier has no champion" in output for output in said), said


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
