"""Promotion: whether a challenger takes the champion's place, judged on the same faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from scipy.stats import binomtest

from configs.settings import EvaluationSettings, PromotionSettings
from vision.data.faces import FaceSet
from vision.evaluation.metrics import class_table, confusion, f1_of_matrices, score_predictions
from vision.lifecycle import plots
from vision.model.classifier import predict
from vision.model.runtimes import time_predictions
from vision.reporting.figures import labelled_faces
from vision.reporting.pages import render_page
from vision.reporting.reports import Report

Array = np.ndarray[Any, Any]
PROMOTED, HELD, REJECTED = "promoted", "held", "rejected"
SCORES = ("accuracy", "macro_f1", "worst_class_recall", "expected_calibration_error", "negative_log_likelihood")


@dataclass(frozen=True)
class Contender:
    """A model as the gate measured it: (n, classes) probabilities of the test faces, size, time for one face."""

    version: str
    probabilities: Array
    megabytes: float
    latency_p95_milliseconds: float


@dataclass(frozen=True)
class Floor:
    """A bound that the challenger must keep; `ceiling` says on which side of it."""

    name: str
    value: float
    bound: float
    ceiling: bool

    @property
    def passed(self) -> bool:
        return self.value <= self.bound if self.ceiling else self.value >= self.bound

    def __str__(self) -> str:
        verb = "at most" if self.ceiling else "at least"
        return f"{self.name.replace('_', ' ')} {self.value:.4g}, must be {verb} {self.bound:.4g}"


@dataclass(frozen=True)
class Gain:
    """Challenger minus champion, with the paired bootstrap's interval."""

    metric: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Decision(Report):
    """What the gate decided and why. Scores are on all test faces, gains on those that neither model learned from."""

    outcome: str
    reasons: list[str]
    challenger: str
    champion: str | None
    faces: int
    compared_faces: int
    floors: list[Floor]
    scores: dict[str, dict[str, float]]
    gains: list[Gain]
    confidence_level: float
    only_champion_right: int
    only_challenger_right: int
    mcnemar_p: float | None
    classes: list[dict[str, Any]]
    confusions: dict[str, list[list[int]]]

    def numbers(self) -> dict[str, float]:
        measured = {floor.name: floor.value for floor in self.floors}
        flat = {name: measured[name] for name in ("model_megabytes", "latency_p95_milliseconds")}
        for gain in self.gains:
            flat |= {f"promotion/{gain.metric}_{part}": getattr(gain, part) for part in ("gain", "low", "high")}
        if self.mcnemar_p is not None:
            flat["promotion/mcnemar_p"] = self.mcnemar_p
        return flat

    def page(self) -> str:
        return render_page("decision.html.j2", title=f"Version {self.challenger}: {self.outcome}", report=self)

    def markdown(self) -> str:
        """Return the decision as Markdown, for a summary that shows no pictures."""
        return render_page("decision.md.j2", report=self)


def measure_latency(classifier: keras.Model, face: Array, samples: int) -> float:
    """Return the 95th percentile of the milliseconds that one (side, side) face takes."""
    return float(np.percentile(time_predictions(partial(predict, classifier), face[None], samples), 95))


def paired_bootstrap(
    champion: Array, challenger: Array, labels: Array, classes: int, settings: PromotionSettings, seed: int
) -> list[Gain]:
    """Return the gains in accuracy and macro-F1 of predicted classes (n,) over the champion's (n,).

    Faces are resampled together with both predictions (Efron & Tibshirani 1993); intervals are percentiles.
    """
    random = np.random.default_rng(seed)
    shape = (classes, classes, classes)
    counts = np.bincount(np.ravel_multi_index((labels, champion, challenger), shape), minlength=classes**3)
    # resampling n faces with replacement is one multinomial draw of the joint counts
    draws = random.multinomial(len(labels), counts / len(labels), size=settings.bootstrap_samples)
    both = np.concatenate([counts[None], draws]).reshape(-1, *shape)
    old, new = both.sum(axis=3), both.sum(axis=2)
    present = np.unique(labels)
    found = {
        "accuracy": (np.einsum("bii->b", new) - np.einsum("bii->b", old)) / len(labels),
        "macro_f1": (f1_of_matrices(new) - f1_of_matrices(old))[:, present].mean(axis=1),
    }
    tail = (1 - settings.confidence_level) / 2
    return [
        Gain(metric, float(v[0]), *(float(q) for q in np.quantile(v[1:], [tail, 1 - tail])))
        for metric, v in found.items()
    ]


def mcnemar(only_champion: int, only_challenger: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (McNemar 1947) from the counts of discordant faces."""
    discordant = only_champion + only_challenger
    return float(binomtest(only_challenger, discordant).pvalue) if discordant else 1.0


def decide(
    challenger: Contender,
    champion: Contender | None,
    test: FaceSet,
    learned: Array,
    promotion: PromotionSettings,
    evaluation: EvaluationSettings,
    seed: int,
) -> Decision:
    """Judge a challenger on the faces of `test` against the floors and, if there is one, the champion.

    `learned` is (n,) bool: one of the two models was trained on this face, so it does not count for the gain.
    The scores of a champion are always those of these faces, never what an earlier run stored.
    """
    labels, names = test.labels, test.class_names
    contenders = {"champion": champion, "challenger": challenger}
    present = {role: found for role, found in contenders.items() if found}
    scores = {
        role: {
            **_chosen(score_predictions(found.probabilities, labels, evaluation, seed)),
            "model_megabytes": found.megabytes,
            "latency_p95_milliseconds": found.latency_p95_milliseconds,
        }
        for role, found in present.items()
    }
    floors = _floors(scores["challenger"], promotion)
    predicted = {role: found.probabilities.argmax(axis=1) for role, found in present.items()}
    tables = {role: class_table(found.probabilities, labels, names) for role, found in present.items()}
    matrices = {role: confusion(found.probabilities, labels) for role, found in present.items()}
    fair = ~learned
    gains: list[Gain] = []
    only_champion = only_challenger = 0
    figures = {}
    if champion and fair.any():
        old, new = predicted["champion"], predicted["challenger"]
        gains = paired_bootstrap(old[fair], new[fair], labels[fair], len(names), promotion, seed)
        only_champion = int(((old == labels) & (new != labels) & fair).sum())
        only_challenger = int(((new == labels) & (old != labels) & fair).sum())
    if champion:
        figures = {
            "class_changes.png": plots.class_changes(tables["champion"], tables["challenger"]),
            "confusion_matrices.png": plots.confusion_pair(matrices["champion"], matrices["challenger"], names),
            "disagreements.png": _disagreements(test, champion, challenger, promotion.disagreements),
        }
    outcome, reasons = _judge(floors, gains, champion, test.form == "drawn", promotion)
    return Decision(
        outcome=outcome,
        reasons=reasons,
        challenger=challenger.version,
        champion=champion.version if champion else None,
        faces=len(test),
        compared_faces=int(fair.sum()) if champion else 0,
        floors=floors,
        scores=scores,
        gains=gains,
        confidence_level=promotion.confidence_level,
        only_champion_right=only_champion,
        only_challenger_right=only_challenger,
        mcnemar_p=mcnemar(only_champion, only_challenger) if gains else None,
        classes=_class_rows(tables, names),
        confusions={role: matrix.tolist() for role, matrix in matrices.items()},
        figures=figures,
    )


def _chosen(scores: dict[str, float]) -> dict[str, float]:
    return {name: scores[name] for name in SCORES}


def _floors(scores: dict[str, float], settings: PromotionSettings) -> list[Floor]:
    bounds = {
        "accuracy": settings.min_accuracy,
        "macro_f1": settings.min_macro_f1,
        "worst_class_recall": settings.min_worst_class_recall,
        "expected_calibration_error": settings.max_expected_calibration_error,
        "model_megabytes": settings.max_model_megabytes,
        "latency_p95_milliseconds": settings.max_latency_p95_milliseconds,
    }
    at_least = ("accuracy", "macro_f1", "worst_class_recall")
    return [Floor(name, scores[name], bound, name not in at_least) for name, bound in bounds.items()]


def _judge(
    floors: Sequence[Floor], gains: Sequence[Gain], champion: Contender | None, drawn: bool, settings: PromotionSettings
) -> tuple[str, list[str]]:
    broken = [str(floor) for floor in floors if not floor.passed]
    if broken:
        return REJECTED, broken
    if drawn and not settings.allow_drawn:
        return HELD, ["the faces are drawn, which proves nothing (promotion.allow_drawn is false)"]
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


def _class_rows(tables: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "count": int(tables["challenger"].loc[name, "count"]),
            **{
                f"{role}_{metric}": float(table.loc[name, metric])
                for role, table in tables.items()
                for metric in ("precision", "recall", "f1")
            },
        }
        for name in names
    ]


def _disagreements(test: FaceSet, champion: Contender, challenger: Contender, count: int) -> bytes:
    """Draw the faces on which the two answer differently, those first of which the two are surest."""
    old, new = champion.probabilities, challenger.probabilities
    differ = np.flatnonzero(old.argmax(axis=1) != new.argmax(axis=1))
    sure = (old.max(axis=1) + new.max(axis=1))[differ]
    rows = differ[np.argsort(-sure, kind="stable")][:count]
    names = test.class_names
    titles = [
        f"{names[test.labels[row]]}\n− {names[old[row].argmax()]} {old[row].max():.0%}\n"
        f"+ {names[new[row].argmax()]} {new[row].max():.0%}"
        for row in rows
    ]
    return labelled_faces(list(test.images[rows]), titles, "the two models agree on every face")
