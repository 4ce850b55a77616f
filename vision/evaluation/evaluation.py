"""Evaluation: everything that the test split says about a classifier."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import softmax

from configs.training_settings import EvaluationSettings
from vision.data.faces import TEST, TRAIN, VALIDATION, FaceSet
from vision.data.preprocessing import IN_TRAINING
from vision.evaluation import plots
from vision.evaluation.calibration import expected_calibration_error, reliability_curve
from vision.evaluation.generalization import Generalization, measure_generalization
from vision.evaluation.grad_cam import grad_cam
from vision.evaluation.metrics import class_table, confusion, score_predictions
from vision.evaluation.robustness import Robustness, score_slices
from vision.evaluation.test_time_augmentation import predict_views
from vision.evaluation.uncertainty import Uncertainty, accuracy_by_coverage, measure_uncertainty
from vision.model.classifier import predict
from vision.reporting.figures import labelled_faces
from vision.reporting.reports import Report

Array = np.ndarray[Any, Any]
OFFICIAL, CLEAN = "test", "test_clean"
AVERAGED = "_tta"  # ends the name of scores with test-time augmentation
WORST_MISTAKES = 24  # faces shown that the model is wrong about, those first of which it is surest


@dataclass(frozen=True, kw_only=True)
class EvaluationReport(Report):
    """Scores on all test faces (`test`) and on those that were never training faces (`test_clean`).

    With test-time augmentation there are `test_tta` and `test_clean_tta` besides; `views` is its name. `robustness` is
    of a part of all test faces, changed in many ways; `generalization` is None without a training or validation face.
    """

    views: str
    faces: dict[str, int]
    scores: dict[str, dict[str, float]]
    classes: dict[str, list[dict[str, Any]]]
    confusion: list[list[int]]
    confidence_level: float
    robustness: Robustness
    uncertainty: Uncertainty
    generalization: Generalization | None

    @property
    def untested(self) -> tuple[str, ...]:
        """The classes without a test face: their scores are unknown, and the averages are over the others."""
        return tuple(str(row["class"]) for row in self.classes[OFFICIAL] if not row["count"])

    @property
    def has_clean(self) -> bool:
        """Say whether any test face was never a training face."""
        return CLEAN in self.faces

    def numbers(self) -> dict[str, float]:
        per_class = {
            f"{name}_class/{metric}_{row['class']}": float(row[metric])
            for name, rows in self.classes.items()
            for row in rows
            if row["count"]
            for metric in ("precision", "recall", "f1")
        }
        flat = {f"{name}/{metric}": value for name, scores in self.scores.items() for metric, value in scores.items()}
        counts = {f"{name}/faces": float(count) for name, count in self.faces.items()}
        gap = {"generalization_gap": self.generalization.gap} if self.generalization else {}
        return {**flat, **counts, **per_class, **self.robustness.numbers(), **self.uncertainty.numbers(), **gap}


def evaluate_classifier(
    classifier: keras.Model, faces: FaceSet, settings: EvaluationSettings, seed: int
) -> tuple[EvaluationReport, pd.DataFrame]:
    """Score a classifier that gives probabilities on the test split; also return the table of predictions.

    The table has a row for each test face: source, label, predicted, correct, confidence, in_training and
    one probability a class.
    """
    test = faces.take(faces.rows(TEST))
    answer = partial(predict, classifier, batch_size=settings.batch_size)
    probabilities, uncalibrated = _predict_both(classifier, test.images, settings.batch_size)
    clean = ~test.table[IN_TRAINING].to_numpy(dtype=bool)
    subsets = {OFFICIAL: np.ones(len(test), dtype=bool), CLEAN: clean}
    subsets = {name: chosen for name, chosen in subsets.items() if chosen.any()}
    versions = {"": probabilities}
    if settings.test_time_augmentation != "none":
        views = settings.test_time_augmentation
        versions[AVERAGED] = predict_views(classifier, test.images, settings.batch_size, views)
    robustness = score_slices(answer, test, probabilities, settings, seed)
    uncertainty, generalization = _measure_on_others(answer, faces, probabilities, subsets, seed)
    curves = {name: accuracy_by_coverage(probabilities[part], test.labels[part]) for name, part in subsets.items()}
    report = EvaluationReport(
        views=settings.test_time_augmentation,
        faces={name: int(chosen.sum()) for name, chosen in subsets.items()},
        scores={
            name + version: score_predictions(predicted[chosen], test.labels[chosen], settings, seed)
            for version, predicted in versions.items()
            for name, chosen in subsets.items()
        },
        classes={
            name: _class_rows(probabilities[chosen], test.labels[chosen], test.class_names)
            for name, chosen in subsets.items()
        },
        confusion=confusion(probabilities, test.labels).tolist(),
        confidence_level=settings.confidence_level,
        robustness=robustness,
        uncertainty=uncertainty,
        generalization=generalization,
        figures={
            **_draw(classifier, test, probabilities, settings, seed),
            "reliability.png": _draw_reliability(
                {"calibrated": probabilities, "before": uncalibrated}, test.labels, settings.calibration_bins
            ),
            "robustness.png": plots.robustness(robustness, settings.confidence_level),
            "coverage.png": plots.coverage(curves),
        },
    )
    return report, _prediction_table(test, probabilities)


def _measure_on_others(
    answer: Callable[[Array], Array], faces: FaceSet, probabilities: Array, subsets: Mapping[str, Array], seed: int
) -> tuple[Uncertainty, Generalization | None]:
    """Measure what takes the validation and the training faces besides the test faces, as far as there are any."""
    test, held_out, learned = (faces.labels[faces.rows(TEST)], faces.rows(VALIDATION), faces.rows(TRAIN))
    if not len(held_out):
        return measure_uncertainty((probabilities, test), subsets, None), None
    validation = answer(faces.images[held_out])
    uncertainty = measure_uncertainty((probabilities, test), subsets, (validation, faces.labels[held_out]))
    return uncertainty, measure_generalization(answer, faces, validation, seed) if len(learned) else None


def _class_rows(probabilities: Array, labels: Array, class_names: Sequence[str]) -> list[dict[str, Any]]:
    table = class_table(probabilities, labels, class_names)
    return [{str(k): v for k, v in row.items()} for row in table.reset_index().to_dict("records")]


def _prediction_table(test: FaceSet, probabilities: Array) -> pd.DataFrame:
    names = np.array(test.class_names)
    table = pd.DataFrame(
        {
            "source": test.table["source"].to_numpy(),
            "label": test.table["label"].to_numpy(),
            "predicted": names[probabilities.argmax(axis=1)],
            "confidence": probabilities.max(axis=1),
            "in_training": test.table[IN_TRAINING].to_numpy(),
        }
    )
    table.insert(3, "correct", table["label"] == table["predicted"])
    return table.assign(**{f"probability_{name}": probabilities[:, code] for code, name in enumerate(names)})


def _draw(
    classifier: keras.Model, test: FaceSet, probabilities: Array, settings: EvaluationSettings, seed: int
) -> dict[str, bytes]:
    names = test.class_names
    explained = _choose_explained(test, settings.explained_per_class, seed)
    return {
        "confusion_matrix.png": plots.confusion(confusion(probabilities, test.labels), names),
        "class_scores.png": plots.class_scores(class_table(probabilities, test.labels, names)),
        "worst_mistakes.png": _draw_worst_mistakes(test, probabilities),
        "grad_cam.png": _draw_explanations(
            classifier, test.take(explained), probabilities[explained], settings.explained_per_class
        ),
    }


def _predict_both(classifier: keras.Model, images: Array, batch_size: int) -> tuple[Array, Array]:
    """Return the (n, classes) probabilities of faces as the classifier gives them, and as its logits would alone."""
    logits = classifier.get_layer("head_logits").output
    both = keras.Model(classifier.input, keras.layers.Concatenate()([classifier.output, logits]))
    calibrated, plain = np.split(predict(both, images, batch_size), 2, axis=1)
    return calibrated, softmax(plain, axis=1)


def _draw_reliability(versions: Mapping[str, Array], labels: Array, bins: int) -> bytes:
    return plots.reliability(
        {name: reliability_curve(p, labels, bins) for name, p in versions.items()},
        {name: expected_calibration_error(p, labels, bins) for name, p in versions.items()},
        bins,
    )


def _draw_worst_mistakes(test: FaceSet, probabilities: Array) -> bytes:
    predicted, names = probabilities.argmax(axis=1), test.class_names
    wrong = np.flatnonzero(predicted != test.labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:WORST_MISTAKES]
    titles = [
        f"{names[label]} {shares[label]:.0%}\n→ {names[code]} {shares[code]:.0%}"
        for label, code, shares in zip(test.labels[worst], predicted[worst], probabilities[worst], strict=True)
    ]
    return labelled_faces(list(test.images[worst]), titles, "the model made no mistake")


def _choose_explained(test: FaceSet, per_class: int, seed: int) -> Array:
    """Return the positions of `per_class` faces of each class, class by class."""
    random = np.random.default_rng(seed)
    of_classes = [np.flatnonzero(test.labels == code) for code in range(len(test.class_names))]
    return np.concatenate([random.permutation(rows)[:per_class] for rows in of_classes])


def _draw_explanations(classifier: keras.Model, chosen: FaceSet, probabilities: Array, per_class: int) -> bytes:
    predicted, names = probabilities.argmax(axis=1), chosen.class_names
    titles = [
        f"{names[label]}\n→ {names[code]} {shares[code]:.0%}"
        for label, code, shares in zip(chosen.labels, predicted, probabilities, strict=True)
    ]
    heat = grad_cam(classifier, chosen.images, predicted)
    return plots.explanations(chosen.images, heat, titles, per_class)
