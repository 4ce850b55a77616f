"""Training facts of a run that never was; no number stands in them twice."""

from typing import Any

from vision.data.balance import BalanceReport
from vision.data.preprocessing import PreprocessingReport, RuleCount
from vision.data.validation import CheckResult, ValidationReport
from vision.evaluation.evaluation import EvaluationReport
from vision.evaluation.generalization import Generalization
from vision.evaluation.paired_bootstrap import Gain
from vision.evaluation.robustness import Robustness, SliceScore
from vision.evaluation.uncertainty import ConformalScore, ConformalSets, Covered, Uncertainty
from vision.lifecycle.training_facts import TrainingFacts
from vision.training.history import TrainingHistory


def scores(accuracy: float, error: float, likelihood: float) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "macro_f1": 0.5835,
        "worst_class_recall": 0.25,
        "negative_log_likelihood": likelihood,
        "expected_calibration_error": error,
        "accuracy_low": accuracy - 0.0101,
        "accuracy_high": accuracy + 0.0202,
    }


def by_class(count: int) -> list[dict[str, Any]]:
    return [
        {"class": "happy", "precision": 0.7123, "recall": 0.9, "f1": 0.7952, "count": count},
        {"class": "sad", "precision": 0.6234, "recall": 0.25, "f1": 0.3569, "count": count + 4},
        {"class": "angry", "precision": 0.5345, "recall": 0.5, "f1": 0.5167, "count": count + 8},
    ]


def invented_facts() -> TrainingFacts:
    return TrainingFacts(
        validation=ValidationReport(
            figures={},
            dataset="faces.zip",
            fingerprint="c9754c0d",
            images=32_137,
            checks=(
                CheckResult(
                    "leaked", "Is it absent?", "expect", "warning", False, 3579, 279, "at most 0.50%", ("a", "b")
                ),
                CheckResult("size", "Is it large?", "expect", "critical", True, 3111, 0, "at most 1.25%", ()),
            ),
        ),
        balance=BalanceReport(
            figures={},
            counts={"train": {"happy": 710, "sad": 320, "angry": 111}, "test": {"happy": 72, "sad": 33, "angry": 12}},
            imbalance_ratio=6.4,
            normalized_entropy=0.912,
            weights={},
        ),
        preprocessing=PreprocessingReport(
            figures={},
            before={"train": 1141, "test": 117},
            rules=(
                RuleCount("unreadable", {"train": 3, "test": 2}, {"train": 1138, "test": 115}),
                RuleCount("leaked", {"train": 19}, {"train": 1007, "validation": 112, "test": 115}),
            ),
            test_faces_in_training=29,
            missing={},
        ),
        history=TrainingHistory(
            figures={},
            epochs=[{"loss": 1.5, "val_accuracy": 0.41}, {"loss": 1.2, "val_accuracy": 0.6489}, {"val_accuracy": 0.6}],
            phases=["head", "top", "top"],
            monitor="val_accuracy",
            best_epoch=2,
            precision="bfloat16",
            repeatable=True,
            state="x",
        ),
        evaluation=EvaluationReport(
            views="none",
            figures={},
            faces={"test": 115, "test_clean": 86},
            scores={"test": scores(0.6412, 0.0441, 1.0123), "test_clean": scores(0.6348, 0.0462, 1.0345)},
            classes={"test": by_class(40), "test_clean": by_class(35)},
            confusion=[[36, 3, 1], [20, 11, 13], [10, 14, 24]],
            confidence_level=0.95,
            robustness=Robustness(
                91,
                0.6593,
                0.5912,
                [
                    SliceScore("darker", 0.5275, 0.4837, [Gain("accuracy", -0.1318, -0.1978, -0.0769)]),
                    SliceScore("mirrored", 0.6484, 0.5862, [Gain("accuracy", -0.0109, -0.0549, 0.0439)]),
                    SliceScore("noisy", 0.3626, 0.3011, [Gain("accuracy", -0.2967, -0.3846, -0.2088)]),
                    SliceScore("half_resolution", 0.6374, 0.5661, [Gain("accuracy", -0.0219, -0.0659, 0.0219)]),
                ],
            ),
            uncertainty=Uncertainty(
                {
                    "test": [Covered(1.0, 0.6412, 0.201), Covered(0.7, 0.7317, 0.532)],
                    "test_clean": [Covered(1.0, 0.6348, 0.203), Covered(0.7, 0.7233, 0.534)],
                },
                ConformalSets(
                    0.9,
                    113,
                    0.1357,
                    {"test": ConformalScore(0.9043, 2.345), "test_clean": ConformalScore(0.8953, 2.346)},
                ),
            ),
            generalization=Generalization(997, 0.7723, 0.6487),
        ),
        calibration="by class",
        temperature=1.234,
    )
