"""The gate: whether a challenger takes the champion's place, judged on the same faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import pandas as pd

from configs.errors import UserError
from configs.lifecycle_settings import PromotionSettings
from configs.section import Section
from configs.training_settings import EvaluationSettings
from vision.data.faces import FaceSet
from vision.evaluation.metrics import class_table, confusion, score_predictions
from vision.evaluation.paired_bootstrap import Gain
from vision.evaluation.robustness import SliceScore, score_slices
from vision.lifecycle import plots
from vision.lifecycle.decision import Decision, Floor
from vision.lifecycle.paired_comparison import PairedComparison, compare_answers
from vision.lifecycle.versions import LoadedVersion
from vision.model.classifier import predict
from vision.model.runtimes import time_predictions
from vision.reporting.figures import labelled_faces

Array = np.ndarray[Any, Any]
PROMOTED, HELD, REJECTED = "promoted", "held", "rejected"
CHAMPION, CHALLENGER = "champion", "challenger"
SCORES = ("accuracy", "macro_f1", "worst_class_recall", "expected_calibration_error", "negative_log_likelihood")
WORST_SLICE, GAP = "worst_slice_accuracy", "generalization_gap"
DISAGREEMENTS = 24  # faces shown on which the two models disagree


class GateRules(Section):
    """What both models are judged by: the bounds, how they are scored, and the seed of the bootstrap."""

    promotion: PromotionSettings
    evaluation: EvaluationSettings
    seed: int


@dataclass(frozen=True)
class Contender:
    """A model as the gate measured it: (n, classes) probabilities of the test faces, size, time for one face.

    `worst_slice` and `generalization_gap` are None where the rules have no bound for them.
    """

    version: str
    probabilities: Array
    megabytes: float
    latency_p95_milliseconds: float
    worst_slice: SliceScore | None = None
    generalization_gap: float | None = None

    @property
    def answers(self) -> Array:
        """(n,) predicted classes."""
        return np.asarray(self.probabilities.argmax(axis=1))


def measure_contender(model: LoadedVersion, test: FaceSet, rules: GateRules) -> Contender:
    """Predict the test faces, in the order of their classes, and measure what the floors ask for.

    Raises UserError where the model has other classes or gives probabilities that are not numbers.
    """
    if set(model.class_names) != set(test.class_names):
        raise UserError(
            f"version {model.version} knows {', '.join(model.class_names)}, the test faces are "
            f"{', '.join(test.class_names)}: the two cannot be compared; train these classes under another "
            "tracking.model_name"
        )
    order = [model.class_names.index(name) for name in test.class_names]

    def answer(images: Array) -> Array:
        return predict(model.classifier, images, rules.evaluation.batch_size)[:, order]

    probabilities = answer(test.images)
    if not np.isfinite(probabilities).all():
        raise UserError(
            f"version {model.version} gives probabilities that are not numbers; train another with --pipeline training"
        )
    latency = measure_latency(model.classifier, test.images[0], rules.promotion.latency_samples)
    worst = None
    if rules.promotion.min_worst_slice_accuracy:
        worst = score_slices(answer, test, probabilities, rules.evaluation, rules.seed).worst_first[0]
    return Contender(model.version, probabilities, model.megabytes, latency, worst)


def measure_latency(classifier: keras.Model, face: Array, samples: int) -> float:
    """Return the 95th percentile of the milliseconds that one (side, side) face takes."""
    return float(np.percentile(time_predictions(partial(predict, classifier), face[None], samples), 95))


def decide(
    challenger: Contender, champion: Contender | None, test: FaceSet, learned: Array, rules: GateRules
) -> Decision:
    """Judge a challenger on the faces of `test` against the floors and, if there is one, the champion.

    `learned` is (n,) bool: one of the two models was trained on this face, so it does not count for the gain.
    The scores of a champion are always those of these faces, never what an earlier run stored.
    """
    labels, names = test.labels, test.class_names
    present = {**({CHAMPION: champion} if champion else {}), CHALLENGER: challenger}
    scores = {role: _score(found, labels, rules) for role, found in present.items()}
    tables = {role: class_table(found.probabilities, labels, names) for role, found in present.items()}
    matrices = {role: confusion(found.probabilities, labels) for role, found in present.items()}
    floors = _check_floors(challenger, scores[CHALLENGER], rules.promotion)
    paired = _compare_fairly(challenger, champion, test, ~learned, rules)
    unproven = _why_unproven(champion, test, learned, rules.promotion)
    outcome, reasons = _judge(floors, paired.gains, champion, unproven, rules.promotion)
    return Decision(
        outcome=outcome,
        reasons=reasons,
        challenger=challenger.version,
        champion=champion.version if champion else None,
        faces=len(test),
        compared_faces=paired.faces,
        floors=floors,
        scores=scores,
        gains=paired.gains,
        confidence_level=rules.promotion.confidence_level,
        only_champion_right=paired.only_champion_right,
        only_challenger_right=paired.only_challenger_right,
        mcnemar_p=paired.mcnemar_p,
        classes=_class_rows(tables, names),
        confusions={role: matrix.tolist() for role, matrix in matrices.items()},
        figures=_draw(challenger, champion, test, tables, matrices) if champion else {},
    )


def _score(contender: Contender, labels: Array, rules: GateRules) -> dict[str, float]:
    found = score_predictions(contender.probabilities, labels, rules.evaluation, rules.seed)
    return {
        **{name: found[name] for name in SCORES},
        "model_megabytes": contender.megabytes,
        "latency_p95_milliseconds": contender.latency_p95_milliseconds,
        **({WORST_SLICE: contender.worst_slice.accuracy} if contender.worst_slice else {}),
        **({GAP: contender.generalization_gap} if contender.generalization_gap is not None else {}),
    }


def _check_floors(challenger: Contender, scores: Mapping[str, float], settings: PromotionSettings) -> list[Floor]:
    bounds = {
        "accuracy": settings.min_accuracy,
        "macro_f1": settings.min_macro_f1,
        "worst_class_recall": settings.min_worst_class_recall,
        "expected_calibration_error": settings.max_expected_calibration_error,
        "model_megabytes": settings.max_model_megabytes,
        "latency_p95_milliseconds": settings.max_latency_p95_milliseconds,
    }
    at_least = ("accuracy", "macro_f1", "worst_class_recall")
    floors = [Floor(name, scores[name], bound, name not in at_least) for name, bound in bounds.items()]
    if worst := challenger.worst_slice:
        where = worst.name.replace("_", " ")
        floors.append(Floor(WORST_SLICE, worst.accuracy, settings.min_worst_slice_accuracy, False, where))
    if challenger.generalization_gap is not None:
        floors.append(Floor(GAP, challenger.generalization_gap, settings.max_generalization_gap, True))
    return floors


def _compare_fairly(
    challenger: Contender, champion: Contender | None, test: FaceSet, fair: Array, rules: GateRules
) -> PairedComparison:
    if champion is None:
        return PairedComparison()
    old, new, labels = champion.answers[fair], challenger.answers[fair], test.labels[fair]
    return compare_answers(old, new, labels, len(test.class_names), rules.promotion, rules.seed)


def _judge(
    floors: Sequence[Floor],
    gains: Sequence[Gain],
    champion: Contender | None,
    unproven: str,
    settings: PromotionSettings,
) -> tuple[str, list[str]]:
    broken = [str(floor) for floor in floors if not floor.passed]
    if broken:
        return REJECTED, broken
    if unproven:
        return HELD, [unproven]
    if champion is None:
        return PROMOTED, ["there is no champion, and every floor is kept"]
    judged = [gain for gain in gains if gain.metric == settings.better_by]
    if not judged:
        return HELD, ["one of the two models was trained on every test face, so nothing is left to compare them on"]
    gain = judged[0]
    described = (
        f"{gain.metric} {gain.gain:+.4f} against champion version {champion.version} "
        f"({settings.confidence_level:.0%} interval {gain.low:+.4f} to {gain.high:+.4f})"
    )
    if gain.low > settings.min_gain:
        return PROMOTED, [f"better: {described}, above {settings.min_gain:+.4f}"]
    return HELD, [f"not shown to be better: {described}, must lie above {settings.min_gain:+.4f}"]


def _why_unproven(champion: Contender | None, test: FaceSet, learned: Array, settings: PromotionSettings) -> str:
    """Return why the scores on these faces prove nothing, or "" where they do."""
    if test.form == "drawn" and not settings.allow_drawn:
        return "the faces are drawn, which proves nothing (promotion.allow_drawn is false)"
    if champion is None and learned.all():
        return (
            "the model was trained on every test face, which proves nothing; preprocessing.drop with leaked in it "
            "takes such faces out of training"
        )
    return ""


def _class_rows(tables: Mapping[str, pd.DataFrame], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "count": int(tables[CHALLENGER]["count"][name]),
            **{
                f"{role}_{metric}": float(table[metric][name])
                for role, table in tables.items()
                for metric in ("precision", "recall", "f1")
            },
        }
        for name in names
    ]


def _draw(
    challenger: Contender,
    champion: Contender,
    test: FaceSet,
    tables: Mapping[str, pd.DataFrame],
    matrices: Mapping[str, Array],
) -> dict[str, bytes]:
    return {
        "class_changes.png": plots.class_changes(tables[CHAMPION], tables[CHALLENGER]),
        "confusion_matrices.png": plots.confusion_pair(matrices[CHAMPION], matrices[CHALLENGER], test.class_names),
        "disagreements.png": _draw_disagreements(test, champion, challenger),
    }


def _draw_disagreements(test: FaceSet, champion: Contender, challenger: Contender) -> bytes:
    """Draw the faces on which the two answer differently, first those of which the two are surest."""
    old, new = champion.probabilities, challenger.probabilities
    differ = np.flatnonzero(champion.answers != challenger.answers)
    sure = (old.max(axis=1) + new.max(axis=1))[differ]
    rows = differ[np.argsort(-sure, kind="stable")][:DISAGREEMENTS]
    names = test.class_names
    titles = [
        f"{names[test.labels[row]]}\n− {names[old[row].argmax()]} {old[row].max():.0%}\n"
        f"+ {names[new[row].argmax()]} {new[row].max():.0%}"
        for row in rows
    ]
    return labelled_faces(list(test.images[rows]), titles, "the two models agree on every face")
