from typing import Any

import pytest
from jinja2 import DictLoader, UndefinedError

from tests.vision.reporting.tags import Tags
from vision.reporting import pages
from vision.reporting.pages import ENVIRONMENT, render_page

TEMPLATES = {
    "page.html.j2": "<p>{{ value }}</p>",
    "note.md.j2": "**kept** {{ value }}",
    "numbers.md.j2": "{{ share | percent }} of {{ total | count }}",
    "picture.html.j2": "{{ value | picture }}",
}


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ENVIRONMENT.overlay(loader=DictLoader(TEMPLATES), cache_size=0)
    own.filters = ENVIRONMENT.filters
    monkeypatch.setattr(pages, "ENVIRONMENT", own)


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("page.html.j2", {"value": "<b>a_b</b>"}, "<p>&lt;b&gt;a_b&lt;/b&gt;</p>"),
        ("note.md.j2", {"value": "<b>a_b | c"}, "**kept** &lt;b>a\\_b \\| c"),
        ("numbers.md.j2", {"share": 0.12345, "total": 12345}, "12.35% of 12,345"),
        ("picture.html.j2", {"value": b"png"}, "data:image/png;base64,cG5n"),
    ],
)
def test_a_template_escapes_for_the_language_that_its_name_says(
    templates: None, template: str, values: dict[str, Any], expected: str
) -> None:
    assert render_page(template, **values) == expected


def test_a_value_that_was_not_given_is_an_error_and_not_an_empty_text(templates: None) -> None:
    with pytest.raises(UndefinedError, match="value"):
        render_page("page.html.j2")


def test_every_page_is_one_whole_document() -> None:
    class Report:
        figures = {"a_plot.png": b"png"}  # noqa: RUF012

        def numbers(self) -> dict[str, float]:
            return {"faces": 1234.0, "share": 0.5}

    page = render_page("figures.html.j2", title="Balance", report=Report())

    tags = Tags(page)
    assert (tags.well_formed, tags.open) == (True, [])
    assert '<td class="number">1,234</td>' in page
    assert '<td class="number">0.5000</td>' in page
    assert 'alt="a plot"' in page
