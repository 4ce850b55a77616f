"""Run report: a training's numbers in a few lines, and all of it on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.loading import flatten
from configs.section import Section
from vision.data.reading_notes import PASSED_OVER
from vision.data.treatment import BLENDED, CUT_OUT, SCALED
from vision.lifecycle.decision import Decision
from vision.lifecycle.training_facts import TrainingFacts
from vision.reporting.pages import render_page
from vision.training.augmentation import AugmentationReport

DATA_STEPS = ("ingest_data", "validate_data", "analyze_balance", "preprocess_data", "preview_augmentation")
SAID_LAST = {*PASSED_OVER, CUT_OUT, BLENDED, SCALED}  # of how the data were read, in the last lines too


class RunRequest(Section):
    """What a run was asked for: its settings as JSON can hold them, and its tags."""

    settings: dict[str, Any]
    tags: dict[str, str]


@dataclass(frozen=True)
class RunContext:
    """Where a training ran: its names, what it was asked for, and what each step needed.

    `resources` has a row a step: step, seconds, peak_memory_mb (10^6 bytes) and cached.
    """

    run_name: str
    run_id: str
    model_uri: str
    request: RunRequest
    resources: Sequence[Mapping[str, Any]]

    @property
    def names(self) -> dict[str, str]:
        """What the last lines of the run call it by."""
        return {"MLflow run": self.run_id, "model": self.model_uri}

    @property
    def drawn(self) -> bool:
        """The faces were drawn by the program."""
        return bool(self.request.settings["dataset"]["reader"] == "drawn")

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its dotted name."""
        return flatten(self.request.settings)

    @property
    def totals(self) -> dict[str, float]:
        """What the steps before the training needed together: data_seconds and data_peak_memory_mb."""
        data = [row for row in self.resources if row["step"] in DATA_STEPS]
        return {
            "data_seconds": sum(row["seconds"] for row in data),
            "data_peak_memory_mb": max((row["peak_memory_mb"] for row in data), default=0.0),
        }


def note(facts: TrainingFacts) -> str:
    """Return the Markdown that MLflow shows of the run."""
    described = " · ".join(f"{name} **{value}**" for name, value in facts.headline.items())
    return f"{described}\n\nEverything on one page: artifact `report.html`."


def run_page(facts: TrainingFacts, augmentation: AugmentationReport, decision: Decision, context: RunContext) -> str:
    """Return the whole run as one self-contained HTML page."""
    return render_page(
        "run.html.j2",
        title=f"Face-emotion training run {context.run_name}",
        facts=facts,
        augmentation=augmentation,
        decision=decision,
        context=context,
    )


def last_lines(facts: TrainingFacts, decision: Decision, context: RunContext, page: str) -> dict[str, str]:
    """Return what a run prints at its end, by name; `page` is where its page is."""
    left_out = {name: fact for name, fact in facts.validation.reading.items() if name in SAID_LAST}
    if relabelling := facts.preprocessing.relabelling:
        left_out["relabelled"] = str(relabelling)
    return {**context.names, **left_out, "report": page, **facts.headline, decision.outcome: decision.reason}
