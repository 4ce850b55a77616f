"""The bare ONNX Runtime session of a model: faces a second on this machine's cores, as one line of JSON."""

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

BATCH, SEED = 64, 0


def measure(file: Path, seconds: float) -> dict[str, float]:
    """Return the faces a second of the bare session on this machine's cores, whichever way is better."""
    cores = os.cpu_count() or 1
    together, apart = _run(file, 1, cores, seconds / 2), _run(file, cores, 1, seconds / 2)
    return {"faces_per_second": max(together, apart)}


def _run(file: Path, sessions: int, threads: int, seconds: float) -> float:
    """Run sessions beside each other, each with some threads; return their faces a second."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    loaded = [onnxruntime.InferenceSession(str(file), options) for _ in range(sessions)]
    given = loaded[0].get_inputs()[0]
    faces = np.random.default_rng(SEED).uniform(0, 255, (BATCH, *given.shape[1:])).astype(np.float32)
    for session in loaded:
        session.run(None, {given.name: faces})  # warms it up
    started = time.perf_counter()

    def count(session: Any) -> int:
        done = 0
        while time.perf_counter() < started + seconds:
            session.run(None, {given.name: faces})
            done += 1
        return done

    with ThreadPoolExecutor(sessions) as pool:
        done = sum(pool.map(count, loaded))
    return BATCH * done / (time.perf_counter() - started)


def main() -> None:
    """Measure the session and print the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="an .onnx file")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    print(json.dumps(measure(options.file, options.seconds)))


if __name__ == "__main__":
    main()
