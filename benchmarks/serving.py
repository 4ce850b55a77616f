"""The service under load: latency, faces and photos a second, swaps of the champion, memory, many callers, `fer`."""

import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import requests

from benchmarks.bare_session import BATCH, SEED
from benchmarks.inference import fer_python, write_model
from benchmarks.measuring import PROJECT, Table, parser, publish, require, run_module, settings_for, start, work_folder
from benchmarks.served_requests import CROPS_A_PHOTO, PHOTOS, Targets, write_targets
from benchmarks.served_store import Server, Store, make_store, serving
from configs.settings import Settings

Array = np.ndarray[Any, Any]
Row = tuple[str, str, str, str]

BATCH_CALLERS, MANY_CALLERS = 8, 64
SWAP_PAUSE, SWAP_SECONDS = 0.5, 30.0  # seconds between two swaps, and at most for one
OFTEN = ("--serving.registry_seconds", "0.2")  # between two looks at the registry, so that 50 swaps take a minute
ONE_WINDOW = ("--inference.min_face_pixels", "96")  # with which the detector searches a picture of 640 pixels once
WARM_REQUESTS = 5_000  # after which memory is compared
NOTES = (
    "`run.py --serve` on a store of its own with the settings of configs/serving.yaml, asked by "
    "`benchmarks/load_client.py`, a process beside it whose callers keep their connections. *Client* is how many cores "
    "that process took, which the service then lacks. The bare ONNX session gets batches of 64 as arrays in a process "
    "of its own: the better of one session with all cores and of one single-threaded session for each core.",
    "Photos are drawn scenes of 640x480 as JPEG with two pasted faces each (validation faces with `--dataset`, else "
    "drawn ones), the same for the service and for `fer`, whose own call `FER().detect_emotions` runs in an "
    "environment of its own (benchmarks/fer-requirements.txt), with its default detector. Both have one core, the "
    "client the other.",
    "*During a swap* are the requests that overlap the time from when the alias changes to when the new version "
    "answers.",
)


@dataclass(frozen=True)
class Sizes:
    """How long and how often is measured."""

    requests: int
    seconds: float
    swaps: int
    memory_requests: int


def load(server: Server, targets: Path, callers: int, *more: str) -> dict[str, Any]:
    """Run the load client to its end and return what it prints."""
    given = [str(targets), "--port", str(server.port), "--callers", str(callers), *more]
    return run_module("benchmarks.load_client", *given)


def failed(seen: Mapping[str, Any]) -> int:
    """Return how many requests had another answer than 200."""
    return sum(count for status, count in seen["statuses"].items() if status != "200")


def measure_crops(server: Server, targets: Targets, sizes: Sizes) -> list[Row]:
    """One caller with a crop at a time."""
    load(server, targets.crop, 1, "--requests", "50")
    seen = load(server, targets.crop, 1, "--requests", str(sizes.requests))
    found = f"{seen['p50']:.2f} / {seen['p99']:.2f} ms, {failed(seen)} of {seen['requests']:,} failed"
    return [("a crop through `/v2/…/infer`, one caller: p50 / p99", found, "≤ 3 / ≤ 10 ms", _cores(seen))]


def measure_batches(server: Server, targets: Targets, sizes: Sizes, onnx_file: Path) -> list[Row]:
    """Eight callers with batches of 64, against the session alone before and after."""
    given = [str(onnx_file), "--seconds", str(sizes.seconds)]
    before = run_module("benchmarks.bare_session", *given)["faces_per_second"]
    seen = load(server, targets.batch, BATCH_CALLERS, "--seconds", str(sizes.seconds))
    after = run_module("benchmarks.bare_session", *given)["faces_per_second"]
    bare, faces = statistics.mean((before, after)), BATCH * seen["a_second"]
    found = f"{faces:,.0f} faces a second, {faces / bare:.0%} of {bare:,.0f}; {failed(seen)} failed"
    return [(f"batches of {BATCH} from {BATCH_CALLERS} callers, by the bare session", found, "≥ 70%", _cores(seen))]


def measure_photos(store: Store, targets: Targets, sizes: Sizes) -> list[Row]:
    """Photos on one core, by the service and by fer."""
    photos = [str(photo) for photo in targets.photo_files]
    given = ["--seconds", str(sizes.seconds), "--core", "0"]
    fer = run_module("benchmarks.fer_photo_peer", *photos, *given, python=fer_python())
    rows: list[Row] = []
    for name, options in (("", ()), (", faces from 96 pixels on", ONE_WINDOW)):
        with serving(store, *options, cores=[0]) as server:
            seen = load(server, targets.photos, 2, "--seconds", str(sizes.seconds))
            faces = sum(_count_faces(server, photo) for photo in targets.photo_files)
        ratio = seen["a_second"] / fer["a_second"]
        found = f"{seen['a_second']:.1f} a second, {ratio:.1f} x fer; {faces} boxes, {failed(seen)} failed"
        goal = f"≥ 40 a second, ≥ 5 x fer, ≥ {fer['faces']} boxes"
        rows.append((f"640-pixel photo with two faces, one core{name}", found, goal, _cores(seen)))
    theirs = f"{fer['a_second']:.1f} a second, {fer['faces']} boxes for {2 * PHOTOS} faces"
    return [*rows, ("the same photos by `fer`, one core", theirs, "", "")]


def measure_swaps(server: Server, store: Store, targets: Targets, sizes: Sizes) -> list[Row]:
    """Swap the champion to and fro while four callers ask."""
    answers = store.folder / "answers.npy"
    line = [sys.executable, "-m", "benchmarks.load_client", str(targets.crop), "--port", str(server.port)]
    line += ["--callers", "4", "--answers", str(answers)]
    swaps: list[tuple[float, float]] = []
    with subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.DEVNULL) as client:
        time.sleep(3)
        for number in range(sizes.swaps):
            swaps.append(_swap(server, store, store.versions[(number + 1) % 2]))
            time.sleep(SWAP_PAUSE)
        client.terminate()
    seen = np.load(answers)
    began, ended = seen[:, 0], seen[:, 0] + seen[:, 1]
    during = np.any([(began < stop) & (ended > start) for start, stop in swaps], axis=0)
    inside, outside = (1000 * np.percentile(seen[rows, 1], 99) for rows in (during, ~during))
    lost = int((seen[:, 2] != 200).sum())
    late = f"p99 {inside:.1f} ms during, {outside:.1f} ms outside: {inside / outside:.2f} x"
    found = f"{lost} of {len(seen):,} failed; {late}"
    return [(f"champion swapped {sizes.swaps} times, four callers", found, "0 failed, p99 ≤ 2 x", "")]


def _swap(server: Server, store: Store, version: str) -> tuple[float, float]:
    """Make a version the champion and wait until it answers; return when that began and ended."""
    began = time.time()
    store.crown(version)
    while server.ask("/v1/model")["version"] != version:
        if time.time() - began > SWAP_SECONDS:
            raise RuntimeError(f"version {version} does not answer {SWAP_SECONDS:g} s after it became champion")
        time.sleep(0.05)
    return began, time.time()


def measure_memory(server: Server, targets: Targets, sizes: Sizes) -> list[Row]:
    """Watch the service's memory over many crops and photos."""
    warm = min(WARM_REQUESTS, sizes.memory_requests // 2)
    load(server, targets.mixed, BATCH_CALLERS, "--requests", str(warm))
    before = server.resident_megabytes()
    seen = load(server, targets.mixed, BATCH_CALLERS, "--requests", str(sizes.memory_requests - warm))
    after = server.resident_megabytes()
    found = (
        f"{before:.0f} MB after {warm:,}, {after:.0f} MB at the end ({after / before - 1:+.1%}); {failed(seen)} failed"
    )
    return [
        (
            f"{sizes.memory_requests:,} requests, a photo for every {CROPS_A_PHOTO} crops",
            found,
            "within 5%",
            _cores(seen),
        )
    ]


def measure_many(server: Server, targets: Targets, sizes: Sizes) -> list[Row]:
    """More callers than cores, and more than are let in."""
    rows: list[Row] = []
    for callers in (MANY_CALLERS, 2 * MANY_CALLERS):
        seen = load(server, targets.photos, callers, "--seconds", str(sizes.seconds))
        statuses = ", ".join(f"{count:,} x {status}" for status, count in seen["statuses"].items())
        found = (
            f"{statuses}; answered: p50 {seen['p50']:,.0f}, p99 {seen['p99']:,.0f}, longest {seen['longest']:,.0f} ms"
        )
        rows.append((f"{callers} callers with photos", found, "answered in time or 503", _cores(seen)))
    return rows


def _count_faces(server: Server, photo: Path) -> int:
    headers, url = {"Content-Type": "image/jpeg"}, f"{server.address}/v1/emotions"
    return len(requests.post(url, photo.read_bytes(), headers=headers, timeout=30).json()["faces"])


def _cores(seen: Mapping[str, Any]) -> str:
    return f"{seen['client_cores']:.2f}"


def write_onnx(options: Namespace, folder: Path) -> Path:
    """Return the model as an ONNX file: `--model` as it is, or converted; --quick makes an untrained one."""
    model = write_model(folder / "untrained.keras") if options.quick and options.model is None else options.model
    file = require(model, "--model")
    if file.suffix == ".onnx":
        return Path(file)
    from vision.lifecycle.onnx_files import write_float32
    from vision.model.classifier import load_safely, with_temperature

    classifier = load_safely(file)
    whole = type(classifier.layers[-1]).__name__ == "Softmax"  # else it gives logits
    write_float32(classifier if whole else with_temperature(classifier, 1.0), folder / "model.onnx")
    return folder / "model.onnx"


def choose_faces(options: Namespace, settings: Settings) -> Array:
    """Return faces of the validation split, or drawn ones."""
    from vision.standalone import prepare_faces

    faces = prepare_faces(settings)
    rows = np.random.default_rng(SEED).permutation(faces.rows("validation"))[: 2 * PHOTOS]
    return np.asarray(faces.images[rows])


def main() -> None:
    """Start the service and print the table."""
    options_parser = parser(__doc__ or "", rounds=1)
    options_parser.add_argument("--model", type=Path, metavar="FILE", help="a classifier's .keras or .onnx file")
    options_parser.add_argument("--requests", type=int, default=50_000, help="while memory is watched; default: 50,000")
    options_parser.add_argument("--swaps", type=int, default=50, help="of the champion; default: 50")
    options_parser.add_argument("--seconds", type=float, default=15.0, help="of each load; default: 15")
    options = options_parser.parse_args()
    sizes = Sizes(2_000, options.seconds, options.swaps, options.requests)
    if options.quick:
        sizes = Sizes(20, 1.0, 2, 60)
    settings = settings_for(options)
    rows: list[Row] = []
    with work_folder() as folder:
        onnx_file = write_onnx(options, folder)
        name, faces = settings.tracking.model_name, choose_faces(options, settings)
        store = make_store(folder / "store", name, onnx_file, settings.dataset.class_names)
        targets = write_targets(folder, name, faces)
        with serving(store, *OFTEN) as server:
            started = f"{server.seconds_to_ready:.1f} s, {server.resident_megabytes():.0f} MB"
            rows.append(("start, until it answers, and memory then", started, "< 4 s, < 250 MB", ""))
            rows += measure_crops(server, targets, sizes)
            rows += measure_batches(server, targets, sizes, onnx_file)
            rows += measure_swaps(server, store, targets, sizes)
        with serving(store) as server:
            rows += measure_memory(server, targets, sizes)
            rows += measure_many(server, targets, sizes)
        rows += measure_photos(store, targets, sizes)
    title = f"Serving ({datetime.now(UTC):%Y-%m-%d}, seed {SEED})"
    publish(Table(title, ("load", "measured", "goal", "client"), tuple(rows), NOTES), options)


if __name__ == "__main__":
    start(main)
