"""Disks that are full or read-only, databases that are damaged or locked, and too little memory."""

import contextlib
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from configs.errors import UserError
from configs.settings import Settings
from stack.error_messages import explained
from tests.conftest import PROJECT
from tests.faults.conftest import WatchedRun, fill
from vision.data import ingestion
from vision.data.ingestion import ingest_faces

pytestmark = pytest.mark.faults
ZENML = Path("state", "zenml", "local_stores", "default_zen_store", "zenml.db")
MLFLOW = Path("state", "mlflow", "mlflow.db")


def one_sentence(run: WatchedRun) -> str:
    errors = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, run.output
    assert "Traceback" not in run.output
    return errors[0]


def test_a_disk_that_fills_up_in_training_is_named_and_after_freeing_it_the_run_goes_on(
    start: Callable[..., WatchedRun], small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(400)
    run = start(disk)
    run.wait_for(run.says("epoch 2/6"))
    filler = fill(disk)

    assert run.end() == 2, run.output
    # free again is what the failed write has removed
    assert re.search(rf"the disk of {re.escape(str(run.state))} is full \(\d+\.\d MB free\)", one_sentence(run))
    assert "--state_folder" in one_sentence(run)
    filler.unlink()
    again = start(disk)
    assert again.end() == 0, again.output
    assert "the training resumes from epoch" in again.output
    assert "is not used" not in again.output  # what was kept is whole


@pytest.mark.parametrize("megabytes", [1, 3])
def test_a_disk_that_is_full_from_the_start_is_named(
    megabytes: int, start: Callable[..., WatchedRun], small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(40)
    filler = fill(disk, leave=megabytes * 1_000_000)
    run = start(disk)

    assert run.end() == 2, run.output
    assert re.search(r"the disk of .*(is full|has \d\.\d\d GB free)", one_sentence(run))
    filler.unlink()


def test_a_read_only_state_folder_is_refused_at_once(
    start: Callable[..., WatchedRun], small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(20)
    (disk / "state").mkdir()
    (disk / "home").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    run = start(disk)

    assert run.end() == 2, run.output
    assert "state_folder" in one_sentence(run)
    assert "Read-only file system" in one_sentence(run)


@pytest.mark.parametrize("file", [ZENML, MLFLOW], ids=["zenml", "mlflow"])
def test_a_damaged_database_ends_the_run_in_seconds_with_the_way_out(
    file: Path, start: Callable[..., WatchedRun], tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(b"this is not a database" * 1000)
    began = time.monotonic()
    run = start(tmp_path)

    assert run.end() == 2, run.output
    assert f"{tmp_path / file} is damaged" in one_sentence(run)
    assert f"mv {tmp_path / file}" in one_sentence(run)
    assert time.monotonic() - began < 60  # 3 s on a quiet machine; MLflow itself would try for 100 s


@pytest.fixture
def locked(tmp_path: Path) -> sqlite3.Connection:
    """An MLflow store that another connection has locked."""
    (tmp_path / MLFLOW).parent.mkdir(parents=True)
    database = sqlite3.connect(tmp_path / MLFLOW, isolation_level=None, check_same_thread=False)
    database.execute("CREATE TABLE other (number INTEGER)")
    database.execute("DROP TABLE other")
    database.execute("BEGIN EXCLUSIVE")
    return database


def test_a_database_that_stays_locked_ends_the_run_with_the_way_out(
    locked: sqlite3.Connection, start: Callable[..., WatchedRun], tmp_path: Path
) -> None:
    run = start(tmp_path)

    assert run.end() == 2, run.output
    locked.close()
    assert f"{tmp_path / MLFLOW} is locked by another process" in one_sentence(run)
    assert "fuser" in one_sentence(run)


def test_a_database_that_is_locked_for_a_while_is_waited_for(
    locked: sqlite3.Connection, start: Callable[..., WatchedRun], tmp_path: Path
) -> None:
    run = start(tmp_path, "--pipeline", "rollback")
    run.wait_for(run.says("waiting up to 60 s for it"))
    locked.close()

    assert run.end() == 2, run.output
    assert "has no champion" in one_sentence(run)  # which is what it would have said without the lock


def test_too_little_memory_is_one_sentence_that_names_the_settings() -> None:
    child = f"""
import resource, sys
sys.path.insert(0, {str(PROJECT)!r})
from pathlib import Path
from configs.errors import UserError
from configs.loading import load_settings
from stack.error_messages import explained
from vision.data.ingestion import ingest_faces
settings = load_settings([], {{"dataset": {{"reader": "drawn", "image_size": 512, "drawn": {{"faces": 1000}}}}}})
held = int(open("/proc/self/statm").read().split()[0]) * {resource.getpagesize()}
resource.setrlimit(resource.RLIMIT_AS, (held + 30_000_000,) * 2)
try:
    with explained({{"state_folder": Path(".")}}):
        ingest_faces(settings.dataset, 1)
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, timeout=200, check=False, cwd=PROJECT
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the memory is not enough; lower --dataset.workers")


def test_a_worker_that_is_killed_does_not_hang_the_run(
    tmp_path: Path, small_settings: Settings, write_faces: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestion, "SMALL_SET", 10)
    monkeypatch.setattr(ingestion, "CHUNK", 4)
    first = write_faces(tmp_path / "train" / "happy", 200)
    for number in range(10):
        shutil.copytree(first, tmp_path / "train" / f"copy{number}" / "happy")
    settings = small_settings.dataset.model_copy(update={"path": tmp_path, "reader": "folder", "workers": 2})

    ended = Event()

    def kill_workers() -> None:
        while not ended.wait(0.02):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):  # it ended meanwhile
                    if "popen_loky" in " ".join(child.cmdline()):
                        child.kill()

    killing = Thread(target=kill_workers)
    killing.start()
    began = time.monotonic()
    try:
        with pytest.raises(UserError, match="a worker process was killed"), explained({"state_folder": tmp_path}):
            ingest_faces(settings, 1)
    finally:
        ended.set()
        killing.join()

    assert time.monotonic() - began < 120
