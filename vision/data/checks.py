"""CheckResult: the outcome of one check on a data set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """Why rows failed a check: what was found in `count` of them, and where for example."""

    found: str
    count: int
    example: str

    def __str__(self) -> str:
        return f"{self.count:,} x {self.found} (for example {self.example})"


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one expectation: `failed` of `checked` rows failed; `allowed` says how many may.

    `reasons` are the most frequent, `other_reasons` counts the rows with another. `way_out` says what to change.
    """

    check: str
    question: str
    expectation: str
    severity: str
    passed: bool
    checked: int
    failed: int
    allowed: str
    examples: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    other_reasons: int = 0
    way_out: str = ""

    @property
    def failed_share(self) -> float:
        return self.failed / self.checked if self.checked else 0.0

    @property
    def others(self) -> str:
        """How many rows failed for reasons that are not listed."""
        return f"{self.other_reasons:,} x something else"

    @property
    def found(self) -> tuple[str, ...]:
        """What was found in the rows that failed, a line each; without reasons, which rows they are."""
        others = (self.others,) if self.other_reasons else ()
        return (*map(str, self.reasons), *others) if self.reasons else self.examples
