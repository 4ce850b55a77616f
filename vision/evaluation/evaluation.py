"""Evaluation: everything that the test split says about a classifier."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from configs.settings import EvaluationSettings
from vision.data.faces import TEST, FaceSet
from vision.data.preprocessing import IN_TRAINING
from vision.evaluation import plots
from vision.evaluation.calibration import expected_calibration_error, reliability_curve
from vision.evaluation.grad_cam import grad_cam
from vision.evaluation.metrics import class_table, confusion, score_predictions
from vision.evaluation.test_time_augmentation import predict_views
from vision.model.classifier import predict
from vision.reporting.figures import labelled_faces
from vision.reporting.reports import Report

Array = np.ndarray[Any, Any]
OFFICIAL, CLEAN = "test", "test_clean"
AVERAGED = "_tta"  # ends the name of scores with test-time augmentation


@dataclass(frozen=True, kw_only=True)
class EvaluationReport(Report):
    """Scores on all test faces (`test`) and on those that were never training faces (`test_clean`).

    With test-time augmentation there are `test_tta` and `test_clean_tta` besides; `views` is its name.
    """

    views: str
    faces: dict[str, int]
    scores: dict[str, dict[str, float]]
    classes: dict[str, list[dict[str, Any]]]
    confusion: list[list[int]]
    confidence_level: float

    def numbers(self) -> dict[str, float]:
        per_class = {
            f"{name}_class/{metric}_{row['class']}": float(row[metric])
            for name, rows in self.classes.items()
            for row in rows
            for metric in ("precision", "recall", "f1")
        }
        flat = {f"{name}/{metric}": value for name, scores in self.scores.items() for metric, value in scores.items()}
        return {**flat, **{f"{name}/faces": float(count) for name, count in self.faces.items()}, **per_class}


def evaluate_classifier(
    classifier: keras.Model, faces: FaceSet, settings: EvaluationSettings, seed: int
) -> tuple[EvaluationReport, pd.DataFrame]:
    """Score a classifier that gives probabilities on the test split; also return the table of predictions.

    The table has a row for each test face: source, label, predicted, correct, confidence, in_training and
    one probability a class.
    """
    rows = faces.rows(TEST)
    images, labels = faces.images[rows], faces.labels[rows]
    probabilities = predict(classifier, images, settings.batch_size)
    clean = ~faces.table[IN_TRAINING].to_numpy(dtype=bool)[rows]
    subsets = {OFFICIAL: np.ones(len(rows), dtype=bool), CLEAN: clean}
    subsets = {name: chosen for name, chosen in subsets.items() if chosen.any()}
    views = settings.test_time_augmentation
    versions = {"": probabilities}
    if views != "none":
        versions[AVERAGED] = predict_views(classifier, images, settings.batch_size, views)
    scores = {
        name + version: score_predictions(predicted[chosen], labels[chosen], settings, seed)
        for version, predicted in versions.items()
        for name, chosen in subsets.items()
    }
    by_class = {
        name: class_table(probabilities[chosen], labels[chosen], faces.class_names) for name, chosen in subsets.items()
    }
    matrix = confusion(probabilities, labels)
    predictions = _prediction_table(faces, rows, probabilities)
    report = EvaluationReport(
        views=views,
        faces={name: int(chosen.sum()) for name, chosen in subsets.items()},
        scores=scores,
        classes={
            name: [{str(k): v for k, v in row.items()} for row in table.reset_index().to_dict("records")]
            for name, table in by_class.items()
        },
        confusion=matrix.tolist(),
        confidence_level=settings.confidence_level,
        figures={
            "confusion_matrix.png": plots.confusion(matrix, faces.class_names),
            "class_scores.png": plots.class_scores(by_class[OFFICIAL]),
            "reliability.png": _reliability(classifier, probabilities, labels, settings.calibration_bins),
            "worst_mistakes.png": _worst_mistakes(images, predictions, settings.worst_mistakes),
            "grad_cam.png": _explanations(classifier, images, labels, probabilities, faces, settings, seed),
        },
    )
    return report, predictions


def _prediction_table(faces: FaceSet, rows: Array, probabilities: Array) -> pd.DataFrame:
    names = np.array(faces.class_names)
    test = faces.table.iloc[rows]
    table = pd.DataFrame(
        {
            "source": test["source"].to_numpy(),
            "label": test["label"].to_numpy(),
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1),
            "in_training": test[IN_TRAINING].to_numpy(),
        }
    )
    table.insert(3, "correct", table["label"] == table["predicted"])
    return table.assign(**{f"probability_{name}": probabilities[:, code] for code, name in enumerate(names)})


def _reliability(classifier: keras.Model, probabilities: Array, labels: Array, bins: int) -> bytes:
    """Draw the reliability with the fitted temperature and, for comparison, without it."""
    plain = probabilities.astype(np.float64) ** (1.0 / classifier.get_layer("temperature").scale)
    versions = {"with temperature": probabilities, "without": plain / plain.sum(axis=1, keepdims=True)}
    return plots.reliability(
        {name: reliability_curve(p, labels, bins) for name, p in versions.items()},
        {name: expected_calibration_error(p, labels, bins) for name, p in versions.items()},
        bins,
    )


def _worst_mistakes(images: Array, predictions: pd.DataFrame, count: int) -> bytes:
    worst = predictions[~predictions["correct"]].nlargest(count, "confidence")
    of_label = [worst.at[row, f"probability_{label}"] for row, label in worst["label"].items()]
    rows = worst.assign(share=np.array(of_label))[["label", "share", "predicted", "confidence"]].itertuples(index=False)
    titles = ["{} {:.0%}\n→ {} {:.0%}".format(*row) for row in rows]
    return labelled_faces(images[worst.index.to_numpy()], titles, "the model made no mistake")


def _explanations(
    classifier: keras.Model,
    images: Array,
    labels: Array,
    probabilities: Array,
    faces: FaceSet,
    settings: EvaluationSettings,
    seed: int,
) -> bytes:
    random = np.random.default_rng(seed)
    per_class = settings.explained_per_class
    chosen = np.concatenate(
        [random.permutation(np.flatnonzero(labels == code))[:per_class] for code in range(len(faces.class_names))]
    )
    predicted = probabilities[chosen].argmax(axis=1)
    names = faces.class_names
    titles = [
        f"{names[labels[row]]}\n→ {names[code]} {probabilities[row, code]:.0%}"
        for row, code in zip(chosen, predicted, strict=True)
    ]
    heat = grad_cam(classifier, images[chosen], predicted)
    return plots.explanations(images[chosen], heat, titles, per_class)
