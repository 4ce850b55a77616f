"""Report: facts and figures that a step hands on, and how they are written as JSON and HTML."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from pydantic import TypeAdapter

TEMPLATES = Path(__file__).parent / "templates"


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


def render_page(template: str, **values: Any) -> str:
    """Fill a template of vision/templates; in HTML every value is escaped, pictures are put in as data."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["percent"] = lambda share: f"{100 * share:.2f}%"
    return environment.get_template(template).render(**values)
