"""Faces per second of the fitting phase: our training against a bare Keras loop over arrays in memory."""

import json
import time
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measuring import (
    Table,
    alternate,
    compare,
    parser,
    passed_on,
    publish,
    run_module,
    settings_for,
    start,
    work_folder,
)
from configs.settings import Settings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.standalone import prepare_faces, train_faces

OURS, AUGMENTED, BARE = "ours", "ours, with augmentation", "bare Keras"
SIDES = {"ours": OURS, "augmented": AUGMENTED, "bare": BARE}
TRAINING_FACES, VALIDATION_FACES, EPOCHS = 2048, 256, 3
QUICK_FACES = 64
NO_AUGMENTATION = {
    "flip": False,
    **dict.fromkeys(("rotation_degrees", "shift", "zoom", "brightness", "contrast", "erasing", "mixup"), 0.0),
    "random_crop": False,
}
NOTES = (
    "Each measurement is a process of its own: it trains the last phase of configs/training.yaml for "
    f"{EPOCHS} epochs on the same faces, scores the same validation faces after each, and counts from the end of the "
    "first epoch, so that tracing the graph is not counted. Both sides train the same network in the same precision "
    "with the same optimizer, loss and batch size.",
    "Ours streams from the memory-mapped store, keeps the best epoch on disk (counted), measures macro-F1 beside "
    "accuracy, reports progress and uses deterministic operations. The bare loop is `model.fit(x, y)` on float32 "
    "arrays in memory, with accuracy only.",
)


def settings_of_side(options: Namespace) -> Settings:
    """Return the settings with their last phase only, EPOCHS epochs, and the augmentation of the side."""
    settings = settings_for(options)
    epochs = {"epochs": EPOCHS, "patience": EPOCHS, "warmup_epochs": 0.0}
    phase = settings.training.phases[-1].model_copy(update=epochs)
    changes: dict[str, object] = {"training": settings.training.model_copy(update={"phases": (phase,)})}
    if options.side != "augmented":
        changes["augmentation"] = settings.augmentation.model_copy(update=NO_AUGMENTATION)
    return settings.model_copy(update=changes)


def chosen_faces(settings: Settings, quick: bool) -> FaceSet:
    """Return some training and validation faces, the same at every call."""
    faces = prepare_faces(settings)
    counts = dict.fromkeys((TRAIN, VALIDATION), QUICK_FACES)
    if not quick:
        counts = {TRAIN: TRAINING_FACES, VALIDATION: VALIDATION_FACES}
    random = np.random.default_rng(0)
    rows = [random.permutation(faces.rows(split))[:count] for split, count in counts.items()]
    return faces.take(np.sort(np.concatenate(rows)))


def faces_per_second(ends: list[float], faces: FaceSet) -> float:
    """Return training faces per second from the end of the first epoch to that of the last."""
    return (len(ends) - 1) * len(faces.rows(TRAIN)) / (ends[-1] - ends[0])


def measure_ours(faces: FaceSet, settings: Settings, folder: Path) -> float:
    """Train as the pipeline does, from a memory map."""
    np.save(folder / "images.npy", faces.images)
    mapped = np.load(folder / "images.npy", mmap_mode="r")
    stored = FaceSet(faces.name, faces.form, faces.class_names, mapped, faces.table)
    ends: list[float] = []
    train_faces(stored, settings, folder, lambda epoch, metrics: ends.append(time.perf_counter()))
    return faces_per_second(ends, faces)


def measure_bare(faces: FaceSet, settings: Settings) -> float:
    """Train the same network by `model.fit` on arrays."""
    import keras

    from vision.model.classifier import BFLOAT16, FLOAT32, build_classifier, set_trainable
    from vision.training.devices import resolve_precision
    from vision.training.optimizers import OPTIMIZERS, learning_rate

    training, phase = settings.training, settings.training.phases[0]
    classes, side = len(faces.class_names), faces.images.shape[1]
    dtype = BFLOAT16 if resolve_precision(training.precision) == "bfloat16" else FLOAT32
    model = build_classifier(settings.classifier, side, classes, dtype)
    set_trainable(model, phase.trainable)

    def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
        rows = faces.rows(split)
        images = faces.images[rows][..., None].astype(np.float32)
        return images, np.eye(classes, dtype=np.float32)[faces.labels[rows]]

    steps = -(-len(faces.rows(TRAIN)) // training.batch_size)
    model.compile(
        optimizer=OPTIMIZERS[training.optimizer](learning_rate(phase, steps), weight_decay=training.weight_decay),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
    )
    ends: list[float] = []
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    images, labels = arrays(TRAIN)
    model.fit(
        images, labels, training.batch_size, phase.epochs, verbose=0, callbacks=[after],
        validation_data=arrays(VALIDATION),
    )  # fmt: skip
    return faces_per_second(ends, faces)


def measure_side(options: Namespace) -> float:
    """Return the faces per second of one side, in this process."""
    settings = settings_of_side(options)
    faces = chosen_faces(settings, options.quick)
    if options.side == "bare":
        return measure_bare(faces, settings)
    with work_folder() as folder:
        return measure_ours(faces, settings, folder)


def main() -> None:
    """Measure the sides in turn, or one of them where a side is named."""
    options_parser = parser(__doc__ or "", rounds=5)
    options_parser.add_argument("--side", choices=SIDES, help="measure this side only, in this process")
    options = options_parser.parse_args()
    if options.side:
        print(json.dumps({"faces_per_second": measure_side(options)}))
        return

    def side(name: str) -> float:
        answer = run_module("benchmarks.throughput", "--side", name, *passed_on(options))
        return float(answer["faces_per_second"])

    rounds = 1 if options.quick else options.rounds
    figures = alternate({label: partial(side, name) for name, label in SIDES.items()}, rounds)
    settings = settings_for(options)
    batch, phase = settings.training.batch_size, settings.training.phases[-1]
    title = f"Throughput: training {'+'.join(phase.trainable)}, batch {batch}, {rounds} rounds"
    rows = compare(figures, against=BARE)
    goal = "The goal is a ratio of at least 0.95 without augmentation."
    publish(
        Table(title, ("faces per second", "median", "lowest", "highest", f"ratio to {BARE}"), rows, (*NOTES, goal)),
        options,
    )


if __name__ == "__main__":
    start(main)
