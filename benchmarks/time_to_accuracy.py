"""Wall time until validation accuracy first passes 55% and 60%: ours against a plain training script."""

import json
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Timer

import cv2
from tqdm import tqdm

from benchmarks.measuring import (
    PROJECT,
    Table,
    parser,
    passed_on,
    publish,
    run_module,
    settings_for,
    start,
    work_folder,
)
from configs.loading import DEMO, load_settings
from configs.settings import Settings

THRESHOLDS, QUICK_THRESHOLDS = (0.55, 0.60), (0.01, 0.02)
OURS, PLAIN = "ours", "plain script"
PLAIN_EPOCHS = 1000  # the time limit stops it
NOTES = (
    "Seconds from the start of the process, imports included, to the end of the epoch whose validation accuracy first "
    "passed. Each side is a process of its own; they take turns. Both score the same validation faces: those that "
    "vision.data.preprocessing takes from training, stratified.",
    "Ours: `train_classifier` with the configuration named below, ingestion and preprocessing of the data set "
    "included. Plain script: `ImageDataGenerator.flow_from_directory` with the flips and rotation of "
    "configs/training.yaml (which crops too), VGG-19 with ImageNet weights, frozen but for the block named below, "
    "average pooling and a dense head of the same size, Adam, one phase; its folders were written before, from the "
    "same prepared faces, which is not counted.",
)


def settings_of(options: Namespace, config: Path | None = None) -> Settings:
    """Return configs/training.yaml, or another configuration, with the demo's drawn faces where no data set was given.

    Another configuration has weights of its own.
    """
    configs = [config] if config else []
    if not options.dataset:
        return load_settings([DEMO, *configs], {"dataset": {"drawn": {"faces": 420}}})
    return load_settings(configs, {"dataset": {"path": str(options.dataset)}}) if configs else settings_for(options)


def report_epoch(epoch: int, accuracy: float) -> None:
    """Tell the parent process, which measures the time."""
    print(json.dumps({"epoch": epoch, "val_accuracy": accuracy}), flush=True)


def run_ours(options: Namespace) -> None:
    """Train as the pipeline does, from the data set as it is."""
    from vision.standalone import prepare_faces, train_faces

    settings = settings_of(options, options.config)
    faces = prepare_faces(settings)
    train_faces(faces, settings, options.folders, lambda epoch, metrics: report_epoch(epoch, metrics["val_accuracy"]))


def run_plain(options: Namespace) -> None:
    """Train from folders, as notebooks on FER2013 do: one phase over a mostly frozen VGG-19."""
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    settings = settings_of(options)
    side, batch = settings.preprocessing.image_size, settings.training.batch_size
    prepare = keras.applications.vgg19.preprocess_input
    shift = settings.augmentation.shift
    augmenting = ImageDataGenerator(
        preprocessing_function=prepare, horizontal_flip=True, width_shift_range=shift, height_shift_range=shift,
        rotation_range=settings.augmentation.rotation_degrees,
    )  # fmt: skip
    training, validation = (
        generator.flow_from_directory(
            str(options.folders / split), target_size=(side, side), color_mode="rgb", batch_size=batch, shuffle=shuffle
        )
        for generator, split, shuffle in (
            (augmenting, "train", True),
            (ImageDataGenerator(preprocessing_function=prepare), "validation", False),
        )
    )
    weights = None if settings.classifier.weights == "none" else settings.classifier.weights
    base = keras.applications.VGG19(include_top=False, weights=weights, input_shape=(side, side, 3))
    for layer in base.layers:
        layer.trainable = layer.name.startswith(options.plain_trains)
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    for units in settings.classifier.dense_units:
        x = keras.layers.Dropout(settings.classifier.dropout)(keras.layers.Dense(units, activation="relu")(x))
    classes = keras.layers.Dense(training.num_classes, activation="softmax")(x)
    model = keras.Model(base.input, classes)
    model.compile(keras.optimizers.Adam(1e-4), loss="categorical_crossentropy", metrics=["accuracy"])
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report_epoch(epoch + 1, logs["val_accuracy"])
    )
    model.fit(training, validation_data=validation, epochs=PLAIN_EPOCHS, callbacks=[report], verbose=0)


def write_folders(options: Namespace) -> None:
    """Write the prepared training and validation faces as PNG files into class folders."""
    from vision.standalone import prepare_faces

    faces = prepare_faces(settings_of(options))
    written = 0
    for position, (label, split) in enumerate(tqdm(zip(faces.table["label"], faces.table["split"], strict=True))):
        if split in ("train", "validation"):
            folder = options.folders / split / label
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{position:07d}.png"), faces.images[position])
            written += 1
    print(json.dumps({"written": written}))


def time_side(arguments: list[str], thresholds: tuple[float, ...], limit: float) -> dict[str, float]:
    """Run a side until it has passed every threshold, ends, or `limit` seconds are over.

    Return the seconds to each threshold that was passed, and the best accuracy and epochs seen.
    """
    line = [sys.executable, "-m", "benchmarks.time_to_accuracy", *arguments]
    started = time.perf_counter()
    process = subprocess.Popen(line, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    stop = Timer(limit, process.terminate)
    stop.start()
    seen: dict[str, float] = {"best": 0.0, "epochs": 0.0}
    assert process.stdout is not None  # it is a pipe
    for said in process.stdout:
        if not said.startswith("{"):
            continue
        epoch = json.loads(said)
        seconds, accuracy = time.perf_counter() - started, float(epoch["val_accuracy"])
        tqdm.write(
            f"{arguments[1]}: {seconds:.0f} s, epoch {epoch['epoch']}, validation accuracy {accuracy:.4f}", sys.stderr
        )
        seen |= {"best": max(seen["best"], accuracy), "epochs": float(epoch["epoch"])}
        seen |= {f"{t:.0%}": seconds for t in thresholds if accuracy > t and f"{t:.0%}" not in seen}
        if all(f"{t:.0%}" in seen for t in thresholds):
            break
    process.terminate()
    code = process.wait()
    stop.cancel()
    if not seen["epochs"] and code > 0:
        raise RuntimeError(f"{' '.join(line)} ended with {code} before its first epoch")
    return seen


def rows_of(
    runs: dict[str, list[dict[str, float]]], names: tuple[str, ...], limit: float
) -> list[tuple[str | float, ...]]:
    """Return a row for each side, with its median seconds to each threshold that was reached, and their ratios."""
    rows: list[tuple[str | float, ...]] = []
    for side, seen in runs.items():
        cells: list[str | float] = []
        for name in names:
            passed = [run[name] for run in seen if name in run]
            reached = len(passed) == len(seen)
            cells.append(statistics.median(passed) if reached else f"not reached ({len(passed)} of {len(seen)} runs)")
        best = statistics.median(run["best"] for run in seen)
        rows.append((side, *cells, f"{best:.2%}", statistics.median(run["epochs"] for run in seen)))
    ours, plain = rows[0], rows[1]
    ratios = [
        f"{theirs / own:.2f}" if isinstance(own, float) and isinstance(theirs, float) else
        f"above {limit / own:.2f}" if isinstance(own, float) else "unknown"
        for own, theirs in zip(ours[1:-2], plain[1:-2], strict=True)
    ]  # fmt: skip
    return [*rows, (f"{PLAIN} / {OURS}", *ratios, "", "")]


def main() -> None:
    """Measure both sides in turn, or be one of them where a side is named."""
    options_parser = parser(__doc__ or "", rounds=1)
    options_parser.add_argument("--limit-minutes", type=float, default=60.0, help="of each side (default: 60)")
    trained = "layers that the plain script trains beside its head, by the start of their names; `head`: none"
    options_parser.add_argument("--plain-trains", default="block5", metavar="NAME", help=f"{trained} (default: block5)")
    config = "what ours trains with, such as configs/quick.yaml (default: configs/training.yaml)"
    options_parser.add_argument("--config", type=Path, metavar="FILE", help=config)
    options_parser.add_argument("--side", choices=("ours", "plain", "folders"), help="what this process does")
    options_parser.add_argument("--folders", type=Path, help="where the sides keep files")
    options = options_parser.parse_args()
    sides: dict[str, Callable[[Namespace], None]] = {"ours": run_ours, "plain": run_plain, "folders": write_folders}
    if options.side:
        sides[options.side](options)
        return
    thresholds = QUICK_THRESHOLDS if options.quick else THRESHOLDS
    limit = 60.0 if options.quick else options.limit_minutes * 60
    if options.quick:
        options.dataset = None
    with work_folder() as folder:
        given = [*passed_on(options), "--folders", str(folder), "--plain-trains", options.plain_trains]
        given += ["--config", str(options.config.resolve())] if options.config else []
        run_module("benchmarks.time_to_accuracy", "--side", "folders", *given)
        ours, plain = (partial(time_side, ["--side", side, *given], thresholds, limit) for side in ("ours", "plain"))
        runs: dict[str, list[dict[str, float]]] = {OURS: [], PLAIN: []}
        for number in range(1 if options.quick else options.rounds):
            turns = ((OURS, ours), (PLAIN, plain))
            for name, measured in turns if number % 2 == 0 else turns[::-1]:
                runs[name].append(measured())
    names = tuple(f"{t:.0%}" for t in thresholds)
    header = ("seconds to validation accuracy", *names, "best accuracy seen", "epochs")
    notes = (
        *NOTES,
        f"Ours trains {options.config or 'configs/training.yaml'}; the plain script its head and: "
        f"{options.plain_trains}. A side was stopped when it had passed both, when its epochs were over, or after "
        f"{limit / 60:g} minutes; nothing is extrapolated.",
    )
    title = f"Time to accuracy, {len(runs[OURS])} round(s)"
    publish(Table(title, header, tuple(rows_of(runs, names, limit)), notes), options)


if __name__ == "__main__":
    start(main)
