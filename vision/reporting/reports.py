"""Report: facts and figures that a step hands on, and how they are written as JSON and HTML."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import TypeAdapter

from vision.reporting.pages import render_page


@dataclass(frozen=True, kw_only=True)
class Report:
    """Base of what steps report: facts in its fields, and `figures`, PNG files by name."""

    figures: Mapping[str, bytes]

    def facts(self) -> dict[str, Any]:
        """Return every field but the figures, as JSON can hold it."""
        facts: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json", exclude={"figures"})
        return facts

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], figures: Mapping[str, bytes]) -> Self:
        """Rebuild a report. Raises pydantic's ValidationError where the facts are not this report's."""
        return TypeAdapter(cls).validate_python({**facts, "figures": figures})

    def numbers(self) -> dict[str, float]:
        """Return the metrics that go to MLflow, by name."""
        return {}

    def page(self) -> str:
        """Return the report as a self-contained HTML page: numbers first, then the figures."""
        return render_page("figures.html.j2", title=type(self).__name__, report=self)
