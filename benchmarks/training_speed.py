"""Faces per second of a training step by the way of computing: Eigen or oneDNN, precision, batch size."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import PROJECT, Table, parser, publish, start

BACKBONES = ("vgg19", "vgg_compact")
BATCHES, QUICK_BATCHES = (32, 128, 256), (32,)
STEPS, LEAST_STEPS, ENOUGH_SECONDS = 12, 2, 6.0  # a step of a large batch takes many seconds where it is slow
NO_KERNEL = "could not create a primitive descriptor"  # of oneDNN
CROP, CLASSES = 44, 7
FLOATS = {"AVX2": 8, "AVX-512": 16}  # float32 numbers in a register
FMA_UNITS = 2  # of a core; each multiplies and adds a register's numbers in every cycle
PASSES = 3  # forward, gradient of the inputs, gradient of the weights: each as many products as the forward pass
NOTES = (
    "Every row is a process of its own. It builds the network for 48x48 faces of which it sees 44x44 pixels, and times "
    "training steps (forward, backward, AdamW, deterministic operations, no augmentation) on one batch in memory; "
    "faces per second are by the median of 2 to 12 steps, without the first.",
    "*Share of the FMA units*: products of the convolutions and dense layers of one face, times three (forward, and "
    "the gradients of inputs and of weights), against cores x clock x 2 FMA units x the float32 numbers in a register "
    "(16 with AVX-512, 8 with AVX2), at the clock that /proc/cpuinfo names. bfloat16 rows are reckoned by the "
    "same figure.",
)


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    onednn: bool
    precision: str
    batch: int

    @property
    def name(self) -> str:
        library = "oneDNN" if self.onednn else "Eigen"
        return f"{library}, {self.precision}, batch {self.batch}"


def multiplications(classifier: Any) -> int:
    """Return the products of the convolutions and dense layers for one face."""
    total = 0
    for layer in classifier.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            positions = layer.output.shape[1] * layer.output.shape[2] if len(layer.output.shape) == 4 else 1
            size = 1
            for length in kernel.shape:
                size *= length
            total += positions * size
    return total


def measure(backbone: str, width: float, way: Way) -> dict[str, float]:
    """Return faces_per_second and multiplications of one way, in this process."""
    import keras
    import numpy as np

    from configs.loading import load_settings
    from vision.model.classifier import BFLOAT16, FLOAT32, build_classifier
    from vision.model.fused_batch_norm import fuse_batch_norm
    from vision.training.devices import make_deterministic

    make_deterministic(0)
    given = {"backbone": backbone, "weights": "none", "width": width, "crop_size": CROP}
    settings = load_settings([], {"classifier": given}).classifier
    dtype = BFLOAT16 if way.precision == "bfloat16" else FLOAT32
    classifier = fuse_batch_norm(build_classifier(settings, 48, CLASSES, dtype))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    classifier.compile(optimizer=keras.optimizers.AdamW(0.001), loss=loss, jit_compile=False)
    random = np.random.default_rng(0)
    faces = random.integers(0, 256, (way.batch, 48, 48, 1)).astype(np.float32)
    labels = np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, way.batch)]
    classifier.train_on_batch(faces, labels)  # traces, and allocates
    seconds: list[float] = []
    while len(seconds) < LEAST_STEPS or (len(seconds) < STEPS and sum(seconds) < ENOUGH_SECONDS):
        began = time.perf_counter()
        classifier.train_on_batch(faces, labels)
        seconds.append(time.perf_counter() - began)
    speed = way.batch / statistics.median(seconds)
    return {"faces_per_second": speed, "multiplications": multiplications(classifier)}


def measure_apart(backbone: str, way: Way, options: Namespace) -> dict[str, float] | None:
    """Measure in a process of its own, since TensorFlow reads its switches when it is imported.

    None where oneDNN has no convolution for the processor in that precision.
    """
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": str(int(way.onednn))}
    if options.isa:
        environment["ONEDNN_MAX_CPU_ISA"] = options.isa
    child = [backbone, str(options.width), str(int(way.onednn)), way.precision, str(way.batch)]
    line = [sys.executable, "-m", "benchmarks.training_speed", "--child", *child]
    done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if NO_KERNEL in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(child)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def fma_limit(isa: str) -> tuple[float, str]:
    """Return the float32 products a second of all cores' FMA units, and how that was reckoned."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    megahertz = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    flags = next(line for line in lines if line.startswith("flags")).split()
    widest = "AVX-512" if "avx512f" in flags and isa != "AVX2" else "AVX2"
    clock = statistics.mean(megahertz) * 1e6
    said = f"{len(megahertz)} cores x {clock / 1e9:.2f} GHz x {FMA_UNITS} FMA units x {FLOATS[widest]} ({widest})"
    return len(megahertz) * clock * FMA_UNITS * FLOATS[widest], said


def ways(quick: bool) -> list[Way]:
    """Return what is measured: every batch size by Eigen and by oneDNN in float32, and by oneDNN in bfloat16."""
    batches = QUICK_BATCHES if quick else BATCHES
    found = [Way(onednn, "float32", batch) for onednn, batch in itertools.product((False, True), batches)]
    if not quick:
        found += [Way(True, "bfloat16", batch) for batch in batches]
    return found


def main() -> None:
    """Measure every way of both networks, and print a table."""
    options_parser = parser(__doc__ or "", rounds=1)
    options_parser.add_argument("--child", nargs=5, help="measure one way, in this process")
    options_parser.add_argument("--isa", default="", help="let oneDNN use no more than this, such as AVX2")
    options_parser.add_argument("--width", type=float, default=1.0, help="classifier.width of both networks")
    options = options_parser.parse_args()
    if options.child:
        backbone, width, onednn, precision, batch = options.child
        way = Way(onednn == "1", precision, int(batch))
        print(json.dumps(measure(backbone, float(width), way)))
        return
    publish(measure_all(options), options)


def measure_all(options: Namespace) -> Table:
    """Return the table of all ways."""
    limit, reckoned = fma_limit(options.isa)
    rows: list[tuple[str | float, ...]] = []
    for backbone in BACKBONES:
        for way in ways(options.quick):
            found = measure_apart(backbone, way, options)
            if found is None:
                rows.append((f"{backbone}: {way.name}", "not there", ""))
                continue
            share = found["faces_per_second"] * found["multiplications"] * PASSES / limit
            rows.append((f"{backbone}: {way.name}", found["faces_per_second"], f"{share:.0%}"))
            print(rows[-1], file=sys.stderr, flush=True)
    isa = f"oneDNN held to {options.isa}. " if options.isa else ""
    title = "Training speed by way of computing"
    header = ("way", "faces per second", "share of the FMA units")
    return Table(title, header, tuple(rows), (*NOTES, f"Width {options.width:g}. {isa}FMA units here: {reckoned}."))


if __name__ == "__main__":
    start(main)
