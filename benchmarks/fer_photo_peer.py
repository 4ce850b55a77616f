"""Photos through the package `fer`'s own call, which finds faces and classifies them: runs in fer's environment.

Prints one line of JSON: photos a second and faces found. Imports nothing of this project.
"""

import argparse
import importlib
import json
import os
import time
from pathlib import Path

import cv2
import numpy as np


def main() -> None:
    """Send every photo through detect_emotions, timed after one to warm up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--core", type=int, help="the only core to run on")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    detector = importlib.import_module("fer.fer").FER()
    encoded = [photo.read_bytes() for photo in options.photos]

    def detect(content: bytes) -> int:
        return len(detector.detect_emotions(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)))

    detect(encoded[0])
    faces = sum(detect(content) for content in encoded)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < options.seconds:
        detect(encoded[done % len(encoded)])
        done += 1
    print(json.dumps({"a_second": done / (time.perf_counter() - started), "faces": faces}))


if __name__ == "__main__":
    main()
