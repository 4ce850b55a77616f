"""Training facts: what a training's steps reported, for the model card and for the page of the run."""

from dataclasses import dataclass
from itertools import groupby

from vision.data.balance import BalanceReport
from vision.data.faces import SPLITS, UNASSIGNED
from vision.data.preprocessing import NO_CLEAN_FACE, PreprocessingReport
from vision.data.validation import ValidationReport
from vision.evaluation.evaluation import AVERAGED, OFFICIAL, EvaluationReport
from vision.training.history import TrainingHistory


@dataclass(frozen=True)
class TrainingFacts:
    """The reports from the raw faces to the evaluated model, and how confidence was calibrated: by class or by one
    temperature, and the (mean) temperature.
    """

    validation: ValidationReport
    balance: BalanceReport
    preprocessing: PreprocessingReport
    history: TrainingHistory
    evaluation: EvaluationReport
    calibration: str
    temperature: float

    @property
    def splits(self) -> list[str]:
        """The splits that have or had faces, in their usual order."""
        report = self.preprocessing
        used = {*report.before, *(split for rule in report.rules for split in rule.remaining)}
        return [split for split in (*SPLITS, UNASSIGNED) if split in used]

    @property
    def phases(self) -> list[tuple[str, int]]:
        """Each phase of the training and how many epochs it took."""
        return [(name, len(list(epochs))) for name, epochs in groupby(self.history.phases)]

    @property
    def headline(self) -> dict[str, str]:
        """The few numbers that say how good the model is, as text by name."""
        evaluation = self.evaluation
        scores, averaged = evaluation.scores[OFFICIAL], {}
        if evaluation.views != "none":
            views = evaluation.views.replace("_", "-")
            averaged[f"  with {views}"] = f"{evaluation.scores[OFFICIAL + AVERAGED]['accuracy']:.2%}"
        return {
            "test accuracy": f"{scores['accuracy']:.2%}",
            **averaged,
            "test macro-F1": f"{scores['macro_f1']:.2%}",
            "worst class recall": f"{scores['worst_class_recall']:.2%}",
            "expected calibration error": f"{scores['expected_calibration_error']:.4f}",
            "best validation accuracy": f"{self.history.best['val_accuracy']:.2%}",
            **self.gaps,
        }

    @property
    def gaps(self) -> dict[str, str]:
        """What could not be measured, because a subset has no face; empty where every subset has one."""
        missing = {f"no {split} face of": ", ".join(names) for split, names in self.preprocessing.missing.items()}
        return missing if self.evaluation.has_clean else {**missing, "clean test faces": NO_CLEAN_FACE}
