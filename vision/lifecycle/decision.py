"""Decision: what the gate decided about a challenger, and everything that it decided on."""

from dataclasses import dataclass
from typing import Any

from vision.evaluation.paired_bootstrap import Gain
from vision.reporting.pages import render_page
from vision.reporting.reports import Report


@dataclass(frozen=True)
class Floor:
    """A bound that the challenger must keep; `ceiling` says on which side of it, `where` what was measured."""

    name: str
    value: float
    bound: float
    ceiling: bool
    where: str = ""

    @property
    def passed(self) -> bool:
        return self.value <= self.bound if self.ceiling else self.value >= self.bound

    def __str__(self) -> str:
        verb = "at most" if self.ceiling else "at least"
        where = f" ({self.where})" if self.where else ""
        return f"{self.name.replace('_', ' ')} {self.value:.4g}{where}, must be {verb} {self.bound:.4g}"


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

    @property
    def untested(self) -> tuple[str, ...]:
        """The classes without a test face, on which nothing was judged."""
        return tuple(str(row["class"]) for row in self.classes if not row["count"])

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)

    @property
    def tags(self) -> dict[str, str]:
        """What a run and a version say of the decision."""
        return {"decision": self.outcome, "decision_reason": self.reason}

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
