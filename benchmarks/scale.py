"""Batch inference on this machine alone and on Ray with 1, 2 and 4 workers' worth of simulated work; then on paper."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measuring import Table, parser, publish, run_module, start, work_folder
from configs.loading import load_settings
from vision.inference.examine import Examined
from vision.inference.face_cuts import whole_picture
from vision.inference.inputs import open_pictures
from vision.inference.job import Engine, Job, Predicted, job_folder, predict_here, predict_pictures
from vision.inference.ray_job import Storage, nest, parts_in_order
from vision.inference.result_table import make_part, merge_parts, write_csv
from vision.inference.rows import picture_rows
from vision.inference.summary import UsedModel
from vision.model.onnx_runtime import Array, Predictor

NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
PICTURES, QUICK_PICTURES = 16_384, 2_048
WORKERS = (1, 2, 4)
PART = 1024  # pictures
NOTES = (
    "The faces are 48x48 PNG files in a manifest, decoded and cut as always; the network is simulated by waiting for "
    "`--milliseconds` a face, so that four workers can work side by side on fewer cores. Every measurement is a "
    "process of its own. *Predicting* begins when the job does, with joining the cluster and starting the actors, and "
    "ends when the last part is written; *merging* makes one table, the CSV and the summary of them. The Ray cluster "
    "is one node on the loopback, with two slots an actor.",
)
PAPER_NOTES = (
    "Assumptions, each to be replaced by one's own: a crop is 1.7 kB, a photo 200 kB; a row is 60 bytes in Parquet and "
    "200 as CSV, a photo has 1.5 faces; an actor predicts 400 crops a second or 10 photos of 640x480 with detection, "
    "on one virtual core. Actors have half of the slots, so {cores} cores are {actors} actors; starting costs two "
    "minutes. Merging runs on one core, after the cluster is given back, at the {rate:,.0f} rows a second that were "
    "measured here on {merged:,} rows, as table and CSV.",
    "Prices: $0.0446 a virtual core and hour (AWS c7i, on demand, us-east-1), $0.0004 for 1,000 S3 GET requests. "
    "Pictures lie in the same region, so that moving them costs nothing; keeping them ($0.023 a GB and month) is not "
    "counted. These are list prices of 2025; look them up again.",
)


@dataclass(frozen=True)
class Prices:
    """US dollars."""

    core_hour: float = 0.0446
    thousand_reads: float = 0.0004


@dataclass(frozen=True)
class Load:
    """A kind of picture: its bytes, how many an actor predicts a second, rows of the table, and requests for each."""

    name: str
    size: float
    a_second: float
    rows: float
    reads: float  # GET requests; a manifest of bytes is read by row groups of 1024 pictures


LOADS = (
    Load("crops in the manifest", 1_700, 400, 1.0, 1 / 1024),
    Load("crops, an object each", 1_700, 400, 1.0, 1.0),
    Load("photos, an object each", 200_000, 10, 1.5, 1.0),
)


def simulated(milliseconds: float, threads: int = 0) -> Predictor:
    """Return a predictor that waits so long for each face, and answers by its grey levels."""

    def predict(faces: Array, batch_size: int) -> Array:
        time.sleep(len(faces) * milliseconds / 1000)
        powers = faces.reshape(len(faces), -1)[:, : len(NAMES)].astype(np.float32) + 1
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    return Predictor(48, predict, partial(simulated, milliseconds))


def write_manifest(path: Path, count: int) -> None:
    """Write a manifest of small pictures, each with other pixels."""
    base = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    encoded = []
    for number in range(count):
        base.flat[:3] = number % 256, number // 256 % 256, number // 65_536
        encoded.append(cv2.imencode(".png", base)[1].tobytes())
    pq.write_table(pa.table({"bytes": encoded, "source": [f"{number}.png" for number in range(count)]}), path)


@contextmanager
def head(slots: int) -> Iterator[str]:
    """Start a Ray node on the loopback, and give its address; it needs the extra ray."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        Path(folder, "token").write_text(secrets.token_hex(32), encoding="utf-8")
        os.environ.update(
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN_PATH=f"{folder}/token",
            RAY_USAGE_STATS_ENABLED="0",
            PYTHONUNBUFFERED="1",
        )
        line = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
        line += ["--node-ip-address=127.0.0.1", f"--num-cpus={slots}", "--include-dashboard=false"]
        line += [f"--temp-dir={folder}/r", "--object-store-memory=200000000"]
        with Path(folder, "log").open("wb") as log:
            node = subprocess.Popen(line, stdout=log, stderr=log)
        try:
            while b"Ray runtime started" not in Path(folder, "log").read_bytes():
                if node.poll() is not None:
                    raise RuntimeError(Path(folder, "log").read_text(encoding="utf-8")[-2000:])
                time.sleep(0.2)
            yield f"127.0.0.1:{port}"
        finally:
            node.terminate()
            node.wait(60)


def measure(options: Namespace) -> dict[str, float]:
    """Run one job, and return its seconds until the parts are written, and after that."""
    given = {"input": str(options.manifest), "output": str(options.folder), "detect": False}
    ray = {"engine": "ray", "ray": {"address": options.address, "actors": options.actors}} if options.address else {}
    settings = load_settings([], {"inference": {**given, **ray}}).inference
    pictures, model = open_pictures(settings), UsedModel("1", NAMES, "simulated")
    folder = job_folder(settings, pictures, model)
    engine: Engine = predict_here
    if options.address:
        from stack.ray_cluster import ray_engine

        engine = ray_engine(settings.ray, folder)
    ended = []

    def timed(job: Job, *rest: Any) -> Predicted:
        predicted = engine(job, *rest)
        ended.append(time.perf_counter())
        return predicted

    began = time.perf_counter()
    predict_pictures(simulated(options.milliseconds), model, pictures, settings, folder, timed)
    return {"predicting": ended[0] - began, "merging": time.perf_counter() - ended[0]}


def merging_rate(folder: Path, count: int) -> float:
    """Return how many rows a second become one table and its CSV, on `count` rows in parts as Ray writes them."""
    folder.mkdir()
    examined = [Examined(f"{number}.png", "", whole_picture(Image.new("L", (48, 48)), 48)) for number in range(PART)]
    rows = picture_rows(examined, np.full((PART, len(NAMES)), 1 / len(NAMES)), UsedModel("1", NAMES, ""), 0.4)
    part = make_part([row for of_picture in rows for row in of_picture], NAMES)
    for first in range(0, count, PART):
        positions = pa.chunked_array([pa.array(range(first, first + PART))])
        pq.write_table(nest(positions, [1] * PART, part), folder / f"{first}.parquet")
    parts = Storage(str(folder), pa_fs.LocalFileSystem(), str(folder))
    began = time.perf_counter()
    merge_parts(parts_in_order(parts, count), folder / "merged", NAMES)
    write_csv(folder / "merged", folder / "csv")
    return count / (time.perf_counter() - began)


def on_paper(load: Load, pictures: float, cores: int, rate: float, prices: Prices) -> tuple[str | float, ...]:
    """Return a row: bytes read and written, hours of the cluster and of merging at `rate`, dollars and a million's."""
    hours = pictures / load.a_second / (cores / 2) / 3600 + 2 / 60
    merging = pictures * load.rows / rate / 3600
    dollars = (hours * cores + merging) * prices.core_hour + pictures * load.reads / 1000 * prices.thousand_reads
    read, written = pictures * load.size / 1e9, pictures * load.rows * 260 / 1e9
    return (load.name, f"{read:,.0f} GB", f"{written:,.0f} GB", f"{hours:.1f}", f"{merging:.1f}", f"${dollars:,.0f}",
            f"${dollars / pictures * 1e6:.2f}")  # fmt: skip


def main() -> None:
    """Measure each side, and print both tables."""
    made = parser(__doc__ or "", 1)
    made.add_argument("--milliseconds", type=float, default=2.0, help="that a face takes (default: 2)")
    made.add_argument("--cores", type=int, default=64, help="of the cluster on paper (default: 64)")
    made.add_argument("--pictures", type=float, default=1e8, help="on paper (default: 100 million)")
    for name in ("--manifest", "--folder", "--address"):
        made.add_argument(name, default="", help="of a measurement: used by this program itself")
    made.add_argument("--actors", type=int, default=1, help="of a measurement: used by this program itself")
    options = made.parse_args()
    if options.manifest:
        print(json.dumps(measure(options)))
        return
    count = QUICK_PICTURES if options.quick else PICTURES
    rows: list[tuple[str | float, ...]] = []
    with work_folder() as folder:
        write_manifest(folder / "faces.parquet", count)
        common = ["--manifest", str(folder / "faces.parquet"), "--milliseconds", str(options.milliseconds)]
        alone = run_module("benchmarks.scale", *common, "--folder", str(folder / "local"))
        seconds = {"this machine alone": alone}
        for actors in WORKERS:
            with head(2 * actors) as address:
                own = ["--folder", str(folder / f"ray{actors}"), "--address", address, "--actors", str(actors)]
                seconds[f"Ray, {actors} worker{'s' * (actors > 1)}"] = run_module("benchmarks.scale", *common, *own)
        merged = count * 16
        rate = merging_rate(folder / "merging", merged)
        for name, one in seconds.items():
            ratio = alone["predicting"] / one["predicting"]
            rows.append((name, one["predicting"], one["merging"], count / one["predicting"], f"{ratio:.2f} x"))
    header = ("engine", "predicting, s", "merging, s", "pictures a second", "against alone")
    title = f"Batch inference on Ray: {count:,} faces, {options.milliseconds:g} ms of simulated work each"
    publish(Table(title, header, tuple(rows), NOTES), options)
    paper = tuple(on_paper(load, options.pictures, options.cores, rate, Prices()) for load in LOADS)
    columns = ("pictures", "read", "written", "hours of the cluster", "hours of merging", "cost", "a million pictures")
    facts = {"cores": options.cores, "actors": options.cores // 2, "rate": rate, "merged": merged}
    notes = tuple(note.format(**facts) for note in PAPER_NOTES)
    title = f"On paper: {options.pictures:,.0f} pictures on {options.cores} cores"
    print(Table(title, columns, paper, notes).markdown(), flush=True)


if __name__ == "__main__":
    start(main)
