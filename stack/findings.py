"""Findings: what was seen of one thing that a run needs, and how to fix what is wrong with it."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a thing is; what is LOCKED may be well again in a moment."""

    OK = "ok"
    WRONG = "wrong"
    LOCKED = "locked"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `fix` is the command or setting that helps where it is not OK."""

    subject: str
    found: str
    status: Status = Status.OK
    fix: str = ""

    @classmethod
    def wrong(cls, subject: str, found: str, fix: str) -> "Finding":
        """Return a finding of what must be fixed before a run."""
        return cls(subject, found, Status.WRONG, fix)

    @property
    def is_ok(self) -> bool:
        return self.status is Status.OK


def one_line(text: str) -> str:
    """Return text without line breaks and without characters that would steer a terminal."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
