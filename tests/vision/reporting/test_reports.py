from dataclasses import dataclass

import pytest
from pydantic import ValidationError

from vision.reporting.reports import Report


@dataclass(frozen=True, kw_only=True)
class Counted(Report):
    """A report as the rooms have them."""

    faces: int
    shares: dict[str, float]

    def numbers(self) -> dict[str, float]:
        return {"faces": float(self.faces)}


REPORT = Counted(figures={"plot.png": b"png"}, faces=7, shares={"happy": 0.5})


def test_facts_are_the_fields_without_the_figures() -> None:
    assert REPORT.facts() == {"faces": 7, "shares": {"happy": 0.5}}


def test_a_report_comes_back_from_its_facts_and_figures() -> None:
    assert Counted.from_facts(REPORT.facts(), REPORT.figures) == REPORT


def test_facts_of_another_report_are_refused() -> None:
    with pytest.raises(ValidationError, match="faces"):
        Counted.from_facts({"images": 7, "shares": {}}, {})


def test_the_page_is_named_after_the_report_and_shows_numbers_and_figures() -> None:
    page = REPORT.page()

    assert "<title>Counted</title>" in page
    assert '<td>faces</td><td class="number">7</td>' in page
    assert 'src="data:image/png;base64,cG5n"' in page
