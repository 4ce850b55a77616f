import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import run
from configs.errors import UserError
from stack.disk_space import find_spare, free, state_at_rest
from stack.users_zenml import USERS_ZENML
from tests.conftest import PROJECT

RUNNING = """
import sys
from pathlib import Path
from vision.files.locks import hold_lock
with hold_lock(Path(sys.argv[1])):
    print(flush=True)
    sys.stdin.read()
"""

KEPT = ("mlflow/mlflow.db", "mlflow/artifacts/models/m-1/model.keras", "unfinished/new/state.json", "start.lock")
SPARE = {
    "frozen features": ("features/key/train.npy",),
    "fetched data": ("fetched/key/faces.zip",),
    "temporary files": ("temporary/run-1/model", "features/unfinished-x/train.npy", "unfinished/new/unfinished-1-a"),
    "trainings stopped long ago": ("unfinished/old/state.json", "checkpoints/run/best.keras"),
}


@pytest.fixture(autouse=True)
def _no_zenml_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in USERS_ZENML:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in (*KEPT, *(name for names in SPARE.values() for name in names)):
        file = tmp_path / "state" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(100))
    long_ago = time.time() - 31 * 86_400
    for folder in ("unfinished/old", "checkpoints/run"):
        os.utime(tmp_path / "state" / folder, (long_ago, long_ago))
    return tmp_path / "state"


def test_each_kind_of_spare_file_is_counted(state: Path) -> None:
    sizes = {found.what: found.size for found in find_spare(state)}

    assert sizes == {"earlier ZenML artifacts": 0, **{what: 100 * len(names) for what, names in SPARE.items()}}


def test_what_is_spare_goes_and_the_rest_stays(state: Path) -> None:
    freed = free(state, find_spare(state))

    left = {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}
    assert left == {*KEPT}
    assert freed == 100 * sum(map(len, SPARE.values()))


def test_a_folder_behind_a_link_is_left_alone(state: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_bytes(bytes(5))
    (state / "features" / "link").symlink_to(tmp_path / "elsewhere")

    free(state, find_spare(state))

    assert (tmp_path / "elsewhere" / "mine").exists()


def test_a_state_in_which_a_run_is_in_progress_is_not_tidied(state: Path) -> None:
    line = [sys.executable, "-c", RUNNING, str(state / "temporary" / "run-2.lock")]
    with subprocess.Popen(line, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with pytest.raises(UserError, match=r"a run is in progress in .*state"), state_at_rest(state):
            pass
        running.communicate()


@pytest.fixture
def zenml(state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Imitate a ZenML that knows one good run after another, and a failed one at the end."""
    (state / "zenml").mkdir()
    runs = []
    for number in ("first", "second", "failed"):
        folder = state / "artifacts" / "train_model" / "classifier" / number / "0"
        folder.mkdir(parents=True)
        (folder / "model.keras").write_bytes(bytes(1000))
        step = SimpleNamespace(outputs={"classifier": [SimpleNamespace(uri=str(folder))]})
        status = "failed" if number == "failed" else "completed"
        runs.append(SimpleNamespace(status=status, steps={"train_model": step}))

    def list_runs(pipeline: str, status: str | None, sort_by: str, size: int) -> Any:
        found = [run for run in reversed(runs) if status in (None, run.status)]
        return SimpleNamespace(items=found[:size])

    client = SimpleNamespace(
        list_pipelines=lambda size: SimpleNamespace(items=[SimpleNamespace(id="training")]),
        list_pipeline_runs=list_runs,
        list_run_steps=lambda **_: SimpleNamespace(items=[], total_pages=1, index=1),
        active_stack=SimpleNamespace(artifact_store=SimpleNamespace(id="store", path=str(state / "artifacts"))),
    )
    monkeypatch.setitem(sys.modules, "zenml.client", SimpleNamespace(Client=lambda: client))
    return state


def test_artifacts_of_the_newest_run_and_of_the_newest_good_one_stay(zenml: Path) -> None:
    free(zenml, find_spare(zenml))

    left = {path.name for path in (zenml / "artifacts" / "train_model" / "classifier").iterdir()}
    assert left == {"second", "failed"}


def test_tidy_deletes_only_with_yes(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", "")  # is set from here on, so put it back
    words = ["--tidy", "--state_folder", str(state)]
    before = sorted(state.rglob("*"))

    shown = run.main(words), capsys.readouterr().out
    unchanged = sorted(state.rglob("*")) == before
    freed = run.main([*words, "--yes"]), capsys.readouterr().out

    assert shown[0] == freed[0] == 0
    assert unchanged
    assert f"add --yes to free 0.0 MB in {state}" in shown[1]
    assert "freed" in freed[1]
    assert not (state / "features" / "key").exists()


def test_a_folder_that_no_run_has_used_is_left_alone(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "start.lock").unlink()  # now it is any folder with the names features, temporary and checkpoints in it
    before = sorted(state.rglob("*"))

    code = run.main(["--tidy", "--yes", "--state_folder", str(state)])

    assert code == 2
    assert f"state_folder {state} is not the state folder of a run" in capsys.readouterr().err
    assert sorted(state.rglob("*")) == before


def test_yes_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--pipeline", "training", "--yes"]) == 2
    assert "--yes goes with --tidy" in capsys.readouterr().err
