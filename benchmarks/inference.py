"""Faces per second and accuracy on the same test faces: ours as Keras, ONNX and int8 against the package `fer`."""

import json
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measuring import (
    PROJECT,
    Table,
    alternate,
    compare,
    parser,
    publish,
    require,
    run_module,
    settings_for,
    start,
    work_folder,
)
from configs.errors import UserError
from configs.settings import Settings
from stack.local_stack import tracking_uri

FER, FER_COMPILED = "fer", "fer, compiled"
REQUIREMENTS = PROJECT / "benchmarks" / "fer-requirements.txt"
MODEL, ONNX, INT8 = "Keras", "ONNX float32", "ONNX int8"
ONNX_ARTIFACTS = "onnx"  # folder in the run
FILES = {ONNX: "model.onnx", INT8: "model.int8.onnx"}
LIMITS = {64: 100_000, 1: 300}  # faces that are classified, by batch
QUICK_LIMITS = {64: 128, 1: 10}
NOTES = (
    "The test faces as preprocessing leaves them, the same for all; of those the first 300 in batches of one. "
    "Each measurement is a process of its own; the sides take turns; one batch warms up. The ratio is the median of "
    "the ratios of faces per second within a round. Accuracy is on all test faces.",
    "fer runs in an environment of its own (benchmarks/fer-requirements.txt). Its network is called on the crops as "
    "its own code does; resizing to 64x64 and scaling are counted. *Compiled* is the same network called by "
    "`predict_on_batch`, as ours is in Keras. Ours takes raw grey levels and resizes and normalises inside the model, "
    "which is counted too. fer's network was trained on FER2013; which of these faces it has seen is not known.",
)


def fer_python() -> str:
    """Return the Python of fer's environment; make it where it is missing or its requirements have changed."""
    folder = PROJECT / ".state" / "benchmarks-fer"
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not installed.is_file() or installed.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        line = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*line, "-r", str(REQUIREMENTS)], check=True)
        installed.write_text(wanted, encoding="utf-8")
    return str(python)


def measure_ours(options: Namespace) -> dict[str, float]:
    """Classify the faces in this process, as fer_peer.py does."""
    from vision.model.classifier import load_safely
    from vision.model.onnx_runtime import onnx_predictor
    from vision.model.runtimes import keras_predictor

    with np.load(options.faces) as stored:
        images, labels = stored["images"][: options.limit], stored["labels"][: options.limit]
        classes = stored["classes"]
    if options.file.suffix == ".keras":
        predictor = keras_predictor(load_safely(options.file))
    else:
        predictor = onnx_predictor(options.file, images.shape[1], len(classes))

    def batch(first: int) -> np.ndarray:
        return predictor.predict(images[first : first + options.batch], options.batch)

    batch(0)
    started = time.perf_counter()
    probabilities = np.concatenate([batch(first) for first in range(0, len(images), options.batch)])
    seconds = time.perf_counter() - started
    accuracy = float((classes[probabilities.argmax(axis=1)] == labels).mean())
    return {"faces_per_second": len(images) / seconds, "accuracy": accuracy}


def write_faces(options: Namespace, path: Path) -> int:
    """Write the test faces and return their number."""
    from vision.data.faces import TEST
    from vision.standalone import prepare_faces

    faces = prepare_faces(settings_for(options))
    rows = faces.rows(TEST)
    labels = faces.table["label"].to_numpy().astype(str)[rows]
    np.savez(path, images=faces.images[rows], labels=labels, classes=np.array(faces.class_names))
    return len(rows)


def champion_files(settings: Settings, folder: Path) -> tuple[Path, Path]:
    """Copy the champion's model and its run's ONNX files; return the .keras file and the folder.

    Raises UserError where the store has no champion.
    """
    import mlflow

    uri, name = tracking_uri(PROJECT / settings.state_folder), settings.tracking.model_name
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise UserError(f"--model FILE.keras is missing, and {uri} does not exist, so there is no champion to measure")
    mlflow.set_tracking_uri(uri)
    try:
        champion = mlflow.MlflowClient().get_model_version_by_alias(name, "champion")
    except mlflow.exceptions.MlflowException as error:
        raise UserError(f"--model FILE.keras is missing, and {name} has no champion to measure") from error
    source = f"models:/{name}/{champion.version}"
    (model,) = Path(mlflow.artifacts.download_artifacts(source, dst_path=str(folder))).rglob("*.keras")
    run = mlflow.artifacts.download_artifacts(run_id=champion.run_id, dst_path=str(folder / "run"))
    return model, Path(run, ONNX_ARTIFACTS)


def write_model(path: Path) -> Path:
    """Write an untrained classifier, which --quick measures where no model was given."""
    import keras

    from configs.loading import load_settings
    from vision.model.classifier import build_classifier, with_temperature

    settings = load_settings([], {"classifier": {"weights": "none"}})
    side, classes = settings.preprocessing.image_size, len(settings.dataset.class_names)
    model: keras.Model = with_temperature(build_classifier(settings.classifier, side, classes), 1.0)
    model.save(path)
    return path


@dataclass(frozen=True)
class Side:
    """A module that measures one side, the Python that runs it, and its arguments."""

    module: str
    python: str
    arguments: tuple[str, ...]

    def measure(self, batch: int, limit: int) -> dict[str, float]:
        """Return faces per second and accuracy on the first `limit` faces."""
        given = ["--batch", str(batch), "--limit", str(limit)]
        return run_module(self.module, *self.arguments, *given, python=self.python)


def all_sides(files: Mapping[str, Path], faces: Path) -> dict[str, Side]:
    """Return fer's two sides and one for each of our files."""
    python = fer_python()
    calls = {FER: "own", FER_COMPILED: "compiled"}
    fer = {label: Side("benchmarks.fer_peer", python, (str(faces), "--call", call)) for label, call in calls.items()}
    ours = {
        f"ours, {label}": Side("benchmarks.inference", sys.executable, ("--faces", str(faces), "--file", str(file)))
        for label, file in files.items()
    }
    return fer | ours


def measure_batch(sides: Mapping[str, Side], batch: int, limit: int, rounds: int) -> list[tuple[str | float, ...]]:
    """Measure the sides in turn with batches of one size; return a row for each."""
    accuracies: dict[str, list[float]] = {label: [] for label in sides}

    def measure(label: str) -> float:
        answer = sides[label].measure(batch, limit)
        accuracies[label].append(answer["accuracy"])
        return answer["faces_per_second"]

    figures = alternate({label: partial(measure, label) for label in sides}, rounds)
    rows: list[tuple[str | float, ...]] = []
    for row in compare(figures, against=FER):
        accuracy = f"{statistics.median(accuracies[str(row[0])]):.2%}" if batch > 1 else "as above"
        rows.append((f"{row[0]}, batch {batch}", *row[1:], accuracy))
    return rows


def our_files(options: Namespace, folder: Path) -> dict[str, Path]:
    """Return the files of our model that there are, by what they are called in the table."""
    if options.quick and options.model is None:
        options.model = write_model(folder / "untrained.keras")
    elif options.model is None:
        options.model, options.onnx_folder = champion_files(settings_for(options), folder)
    files = {MODEL: require(options.model, "--model")}
    if options.onnx_folder:
        files |= {label: options.onnx_folder / name for label, name in FILES.items()}
    return {label: file.resolve() for label, file in files.items() if file.is_file()}


def main() -> None:
    """Measure all sides in turn, or ours alone where a file is named."""
    options_parser = parser(__doc__ or "", rounds=5)
    options_parser.add_argument("--model", type=Path, metavar="FILE.keras", help="our model (default: the champion)")
    options_parser.add_argument("--onnx-folder", type=Path, help="folder of model.onnx and model.int8.onnx")
    options_parser.add_argument("--faces", type=Path, help=".npz; measure --file on it, in this process")
    options_parser.add_argument("--file", type=Path, help="a .keras or .onnx file")
    options_parser.add_argument("--batch", type=int, default=64)
    options_parser.add_argument("--limit", type=int, default=LIMITS[64])
    options = options_parser.parse_args()
    if options.file:
        print(json.dumps(measure_ours(options)))
        return
    rows: list[tuple[str | float, ...]] = []
    with work_folder() as folder:
        files, faces = our_files(options, folder), folder / "faces.npz"
        count = write_faces(options, faces)
        sides = all_sides(files, faces)
        for batch, limit in (QUICK_LIMITS if options.quick else LIMITS).items():
            rows += measure_batch(sides, batch, limit, 1 if options.quick else options.rounds)
    header = ("faces per second", "median", "lowest", "highest", "ratio to fer", "accuracy")
    missing = [label for label in FILES if label not in files]
    notes = (*NOTES, f"Not measured, because the file does not exist: {', '.join(missing)}.") if missing else NOTES
    publish(Table(f"Inference on {count:,} test faces", header, tuple(rows), notes), options)


if __name__ == "__main__":
    start(main)
