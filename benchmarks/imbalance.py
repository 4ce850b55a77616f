"""Accuracy, macro-F1 and worst recall on the validation split for each treatment of unbalanced classes."""

import statistics
from argparse import Namespace
from pathlib import Path
from typing import get_args

from scipy.special import softmax
from tqdm import tqdm

from benchmarks.measuring import Table, parser, publish, settings_for, start, work_folder
from configs.settings import Settings
from configs.training_settings import TrainingSettings

WAYS: tuple[str, ...] = get_args(TrainingSettings.model_fields["imbalance"].annotation)
SCORES = ("accuracy", "macro_f1", "worst_class_recall")


def settings_of(options: Namespace, way: str, seed: int) -> Settings:
    """Return the settings with one phase that trains block 5 and the head on cached features of the blocks below."""
    settings = settings_for(options)
    first = settings.training.phases[0]
    phase = first.model_copy(
        update={"name": "block5", "trainable": ("head", "block5"), "epochs": options.epochs, "patience": options.epochs}
    )
    training = settings.training.model_copy(update={"imbalance": way, "phases": (phase,)})
    return settings.model_copy(update={"training": training, "seed": seed})


def main() -> None:
    """Train with each way and each seed; print the medians over the seeds."""
    options_parser = parser(__doc__ or "", rounds=2)
    options_parser.add_argument("--epochs", type=int, default=8, help="default: 8")
    options = options_parser.parse_args()
    if options.quick:
        options.dataset, options.epochs, options.rounds = None, 1, 1
    from vision.data.faces import VALIDATION
    from vision.evaluation.metrics import score_predictions
    from vision.model.classifier import predict
    from vision.standalone import prepare_faces, train_faces

    base = settings_for(options)
    faces = prepare_faces(base)
    rows = faces.rows(VALIDATION)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with work_folder() as folder, tqdm(total=len(WAYS) * options.rounds, unit=" trainings", disable=None) as progress:
        for seed in range(base.seed, base.seed + options.rounds):
            for way in WAYS:
                progress.set_description(f"{way}, seed {seed}")
                classifier, history = train_faces(faces, settings_of(options, way, seed), Path(folder), lambda *_: None)
                shares = softmax(predict(classifier, faces.images[rows], base.evaluation.batch_size), axis=1)
                scores = score_predictions(shares, faces.labels[rows], base.evaluation, seed)
                seconds = sum(epoch["seconds"] for epoch in history.epochs)
                found[way].append({**{name: scores[name] for name in SCORES}, "seconds": seconds})
                progress.update()
    header = ("imbalance", "accuracy", "macro-F1", "worst recall", "seconds of training")
    table_rows: tuple[tuple[str | float, ...], ...] = tuple(
        (
            way,
            *(f"{statistics.median(run[name] for run in runs):.2%}" for name in SCORES),
            statistics.median(run["seconds"] for run in runs),
        )
        for way, runs in found.items()
    )
    notes = (
        f"Validation split ({len(rows):,} faces), medians of {options.rounds} seed(s); configs/training.yaml with one "
        f"phase of {options.epochs} epochs that trains block 5 and the head on cached features of blocks 1 to 4. "
        "The epoch with the best validation accuracy is kept, for every treatment.",
    )
    publish(Table("Unbalanced classes", header, table_rows, notes), options)


if __name__ == "__main__":
    start(main)
