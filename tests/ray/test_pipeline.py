"""The inference pipeline of run.py on a Ray cluster, with detection, and with pictures and results in a bucket."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import PROJECT, child_environment
from tests.ray.bucket import BUCKET
from tests.ray.cluster import Cluster, namespace
from tests.ray.test_batch_inference import SECONDS, assert_same, finish, pytestmark  # noqa: F401
from tests.servers import seaweedfs
from vision.data.synthetic import EXPRESSIONS, draw_face

PHOTOS = 70  # three parts
STORAGE = f"s3://{BUCKET}/jobs"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write photos with no, one and two drawn faces, and a file that is not a picture."""
    folder = tmp_path_factory.mktemp("input") / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(PHOTOS):
        photo = np.full((200, 440), 90, dtype=np.uint8)
        for place in range(number % 3):
            face = draw_face(EXPRESSIONS[[*EXPRESSIONS][number % len(EXPRESSIONS)]], 160, 2.0, random)
            photo[20:180, 30 + 220 * place : 190 + 220 * place] = face
        cv2.imwrite(str(folder / f"{number:03d}.png"), photo)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@dataclass(frozen=True)
class Site:
    """A cluster with a bucket beside it; `ask` is the bucket's process."""

    cluster: Cluster
    ask: "subprocess.Popen[str]"

    def objects(self) -> list[str]:
        """Return the names of all objects in the bucket."""
        assert self.ask.stdin is not None
        assert self.ask.stdout is not None
        self.ask.stdin.write("names\n")
        self.ask.stdin.flush()
        return list(json.loads(self.ask.stdout.readline()))


@pytest.fixture(scope="module")
def site(photos: Path) -> Iterator[Site]:
    if missing := seaweedfs.why_missing():
        pytest.skip(missing)
    with namespace() as made:
        bucket = made.inside([sys.executable, "-m", "tests.ray.bucket", str(photos)])
        assert bucket.stdout is not None
        made.environment.update(
            json.loads(bucket.stdout.readline())
        )  # the machines have it from here, not from the run
        made.add_nodes([2, 2])
        yield Site(made, bucket)


Infer = Callable[..., tuple[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def infer(site: Site, set_up: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Infer:
    """Return a function that runs the pipeline inside, and returns what it said and its table."""
    folder = set_up(tmp_path_factory.mktemp("runs"))

    def run(source: Path, output: str, *words: str) -> tuple[str, pd.DataFrame]:
        places = {"state_folder": "state", "tracking.reports_folder": "reports", "inference.output": output}
        given = [word for name, place in places.items() for word in (f"--{name}", str(folder / place))]
        line = [sys.executable, str(PROJECT / "run.py"), "--pipeline", "inference", *given]
        line += ["--inference.input", str(source), "--inference.runtime", "onnx_int8", *words]
        code, said = finish(site.cluster.inside(line, **child_environment(folder / "home")))
        assert code == 0, said[-3000:]
        (file,) = (folder / output).glob("*/predictions.parquet")
        assert (file.parent / "_SUCCESS").is_file()
        return said, pd.read_parquet(file)

    return run


@pytest.fixture(scope="module")
def local(infer: Infer, photos: Path) -> pd.DataFrame:
    return infer(photos, "here")[1]


def on_ray(site: Site, storage: str = "") -> list[str]:
    return ["--inference.engine", "ray", "--inference.ray.address", site.cluster.address,
            "--inference.ray.storage", storage]  # fmt: skip


def test_faces_are_found_and_predicted_on_ray_as_here(
    site: Site, infer: Infer, photos: Path, local: pd.DataFrame
) -> None:
    said, ours = infer(photos, "there", *on_ray(site))

    assert "2 machines, 4 slots, 1 actors" in said
    assert (ours["face"] >= 0).sum() > PHOTOS // 2
    assert_same(ours, local)


def test_pictures_parts_and_what_the_step_returns_lie_in_a_bucket(
    site: Site, infer: Infer, photos: Path, local: pd.DataFrame, tmp_path: Path
) -> None:
    names = sorted(path.name for path in photos.iterdir())
    manifest = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"source": names, "uri": [f"s3://{BUCKET}/photos/{name}" for name in names]}), manifest)

    artifacts = ["--stores.artifacts", f"s3://{BUCKET}/artifacts"]
    _, ours = infer(manifest, "from-the-bucket", *on_ray(site, STORAGE), *artifacts)

    assert_same(ours, local)
    objects = [name for name in site.objects() if not name.endswith("/")]
    assert [name for name in objects if name.startswith("jobs/")] == []  # the parts go when the table is made
    assert any("/inference_report/" in name for name in objects if name.startswith("artifacts/"))
