"""Batch inference on a real Ray cluster: a head and two machines with two slots each; `make test-ray`."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ray.cluster import PROJECT, Cluster, cluster

COUNT, FEW = 20_000, 4_000
SECONDS = 240  # for a run; a quarter of it where nothing else works on the machine
STALL = 90  # seconds; starting an actor counts, and takes up to 40 on a busy machine
NEEDED = {
    "Linux and root, for a network namespace": sys.platform == "linux" and os.geteuid() == 0,
    "iproute2": shutil.which("ip"),
    "the extra ray (make setup-servers)": importlib.util.find_spec("ray"),
}
missing = ", ".join(name for name, there in NEEDED.items() if not there)
pytestmark = [pytest.mark.ray, pytest.mark.skipif(bool(missing), reason=f"needs {missing}")]


def write_faces(path: Path, count: int) -> Path:
    """Write a manifest of small pictures, each different from all others."""
    base = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    encoded = []
    for number in range(count):
        image = base.copy()
        image[number % 48], image[:, number % 47] = number // 48 % 256, number % 251
        image.flat[:3] = number % 256, number // 256 % 256, number // 65536
        encoded.append(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
    pq.write_table(pa.table({"source": [f"{n:06d}.png" for n in range(count)], "bytes": encoded}), path)
    return path


class Run:
    """What a run is given, and where its results lie."""

    def __init__(self, manifest: Path, folder: Path) -> None:
        self.folder, self.storage = folder, folder / "storage"
        self.given: dict[str, Any] = {"input": str(manifest), "output": str(folder / "out"), "detect": False,
                                      "runtime": "onnx_int8"}  # fmt: skip

    def command(self, address: str = "", **changes: Any) -> list[str]:
        """Return the command of a run, on Ray where the address of a head is given."""
        ray = {"engine": "ray", "ray": {"address": address, "storage": str(self.storage), **changes}} if address else {}
        return [sys.executable, "-m", "tests.ray.drive", json.dumps({**self.given, **ray})]

    def table(self) -> pd.DataFrame:
        (file,) = (self.folder / "out").glob("*/predictions.parquet")
        assert (file.parent / "_SUCCESS").is_file()
        return pd.read_parquet(file)

    def committed(self) -> dict[Path, int]:
        """Return the files of checkpoints that count, and how many pictures each has."""
        files = [path for path in self.storage.glob("*/checkpoint/*.parquet") if ".pending." not in path.name]
        return {path: pq.read_metadata(path).num_rows for path in files}


def finish(started: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        text = started.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        pytest.fail(f"a run did not end within {SECONDS} s: {started.communicate()[0][-3000:]}")
    return started.returncode, text


def wait_for_parts(run: Run, started: "subprocess.Popen[str]", count: int) -> dict[Path, int]:
    deadline = time.monotonic() + SECONDS
    while len(found := run.committed()) < count:
        assert started.poll() is None, started.communicate()[0][-3000:]
        assert time.monotonic() < deadline, "no part was written"
        time.sleep(0.2)
    return found


def assert_same(ours: pd.DataFrame, local: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(ours, local, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces") / "faces.parquet", COUNT)


@pytest.fixture(scope="module")
def local(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    run = Run(manifest, tmp_path_factory.mktemp("local"))
    subprocess.run(run.command(), check=True, cwd=PROJECT, timeout=SECONDS)
    return run.table()


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    with cluster([2, 2]) as made:
        yield made


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Return a function that starts a run inside a cluster; what still runs at the end is killed."""
    begun: list[subprocess.Popen[str]] = []

    def inside(made: Cluster, command: list[str], **environment: str) -> "subprocess.Popen[str]":
        begun.append(made.inside(command, **environment))
        return begun[-1]

    yield inside
    for one in begun:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.communicate()


def test_a_driver_that_is_killed_does_only_what_is_missing(
    shared_cluster: Cluster, start: Callable[..., Any], manifest: Path, local: pd.DataFrame, tmp_path: Path
) -> None:
    run = Run(manifest, tmp_path)
    command = run.command(shared_cluster.address)
    first = start(shared_cluster, command)
    wait_for_parts(run, first, 3)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    before = run.committed()
    assert 0 < sum(before.values()) < COUNT

    code, text = finish(start(shared_cluster, command))

    assert code == 0, text[-3000:]
    assert f"of {COUNT:,} pictures are done already" in text
    assert_same(run.table(), local)
    after = run.committed()
    assert before.items() <= after.items()
    assert sum(after.values()) == COUNT


def test_a_machine_that_is_lost_costs_no_picture(
    start: Callable[..., Any], manifest: Path, local: pd.DataFrame, tmp_path: Path
) -> None:
    run = Run(manifest, tmp_path)
    with cluster([2, 2]) as made:
        started = start(made, run.command(made.address))
        wait_for_parts(run, started, 3)
        os.kill(made.raylet_with("MapWorker"), signal.SIGKILL)
        begun = sum(run.committed().values())
        code, text = finish(started)

    assert code == 0, text[-3000:]
    assert begun < COUNT
    assert_same(run.table(), local)
    assert sum(run.committed().values()) == COUNT


def test_a_standstill_ends_the_run_with_a_sentence_and_the_same_command_resumes(
    start: Callable[..., Any], manifest: Path, local: pd.DataFrame, tmp_path: Path
) -> None:
    run = Run(manifest, tmp_path)
    with cluster([2, 2]) as made:
        command = run.command(made.address, stall_seconds=STALL)
        started = start(made, command)
        wait_for_parts(run, started, 2)
        stopped = made.workers_with("MapWorker")
        for worker in stopped:
            os.kill(worker, signal.SIGSTOP)  # it neither answers nor ends, as on a machine that hangs
        code, text = finish(started)
        begun = sum(run.committed().values())
        again, resumed = finish(start(made, command))

    assert stopped
    assert code == 2, text[-3000:]
    assert f"told: nothing went forward on the cluster for inference.ray.stall_seconds {STALL}" in text
    assert 0 < begun < COUNT
    assert again == 0, resumed[-3000:]
    assert_same(run.table(), local)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Run, Path]]:
    """Return a run whose storage is a disk that its parts do not fit on."""
    run = Run(write_faces(tmp_path / "few.parquet", FEW), tmp_path)
    run.storage.mkdir()
    room = run.folder.joinpath("few.parquet").stat().st_size + 450_000
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(run.storage)], check=True)
    yield run, run.storage
    subprocess.run(["umount", "-l", str(run.storage)], check=True)


def test_a_full_disk_is_named_and_the_same_command_resumes(
    small_disk: tuple[Run, Path], start: Callable[..., Any]
) -> None:
    run, disk = small_disk
    with cluster([2, 2]) as made:  # after the disk: machines in a namespace see what was mounted before them
        code, text = finish(start(made, run.command(made.address)))
        done = sum(run.committed().values())
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        again, resumed = finish(start(made, run.command(made.address)))

    assert code == 2
    assert "told: a disk of the cluster is full: inference.ray.storage" in text, text[-3000:]
    assert again == 0, resumed[-3000:]
    assert done < FEW == len(run.table())


@pytest.mark.parametrize(
    ("changes", "environment", "told"),
    [
        ({"actors": 9}, {}, "inference.ray.actors is 9; the cluster has 4 slots on 2 machines, of which 2 survive"),
        ({}, {"RAY_AUTH_TOKEN": "0" * 64}, "RAY_AUTH_TOKEN"),
        ({"address": "127.0.0.1:1"}, {}, "inference.ray.address 127.0.0.1:1: nothing answers there"),
    ],
    ids=["actors", "token", "address"],
)
def test_what_a_cluster_lacks_is_told_in_a_sentence(
    shared_cluster: Cluster,
    start: Callable[..., Any],
    tmp_path: Path,
    changes: dict[str, Any],
    environment: dict[str, str],
    told: str,
) -> None:
    run = Run(write_faces(tmp_path / "few.parquet", 10), tmp_path)
    command = run.command(**{"address": shared_cluster.address, **changes})

    code, text = finish(start(shared_cluster, command, **environment))

    assert code == 2
    assert told in text.partition("told: ")[2]
    assert "Traceback" not in text
