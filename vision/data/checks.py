"""CheckResult: the outcome of one check on a data set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one expectation: `failed` of `checked` rows failed; `allowed` says how many may."""

    check: str
    question: str
    expectation: str
    severity: str
    passed: bool
    checked: int
    failed: int
    allowed: str
    examples: tuple[str, ...]

    @property
    def failed_share(self) -> float:
        return self.failed / self.checked if self.checked else 0.0
