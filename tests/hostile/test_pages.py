import json
import re
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, FileSystemLoader, nodes

from commands.comparison import Comparison, Row, RunFacts
from commands.comparison_formats import render
from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.validation import validate_faces
from vision.evaluation.label_audit import AuditedClass, LabelAuditReport, review_page
from vision.inference.summary import InferenceReport
from vision.lifecycle.model_card import card_page
from vision.reporting.pages import TEMPLATES, render_page

NAMES = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1).png",
    "new\nline\r.png",
    "{{ 7 * 7 }}{% include 'base.html.j2' %}.png",
    "javascript:alert(1).png",
    "</td></table><iframe srcdoc='x'>.png",
    "<!--.png",
    "]]>&lt;svg/onload=alert(1)>.png",
    "\u202egnp.exe\x1b]0;owned\x07.png",
]
HARMLESS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "b", "i", "br", "span", "code", "table",
    "thead", "tbody", "tr", "th", "td", "img", "ul", "li", "wbr", "a",
}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "src", "alt", "style", "href"}


class Found(HTMLParser):
    """Notes the elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.add("a comment")


def harmless(page: str) -> Found:
    found = Found(page)
    assert found.tags <= HARMLESS
    assert found.attributes <= ATTRIBUTES
    assert all(source.startswith(("data:image/png;base64,", "http://127.0.0.1:5000/#/")) for source in found.sources)
    return found


@pytest.fixture(scope="module")
def hostile_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "<b onclick='x'>.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            archive.writestr(f"train/<script>alert(2)<|script>/{name.replace('/', '|')}", b"")
    return path


def test_names_of_files_and_folders_are_text_in_the_page_of_the_data_checks(
    hostile_zip: Path,
    dataset_settings: Callable[..., Any],
    small_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vision.data.validation.EXAMPLE_FILES", 20)

    faces = ingest_faces(dataset_settings(hostile_zip), seed=0)
    page = validate_faces(faces, small_settings.validation, blank_standard_deviation=1.0).page()

    found = harmless(page)
    assert "<script>alert(1)<|script>.png" in found.text
    assert "new\\nline\\r.png" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert "\\u202egnp.exe\\x1b]0;owned\\x07.png" in found.text


def test_names_of_pictures_are_text_in_the_summary_of_predictions() -> None:
    report = InferenceReport(
        name=NAMES[0], form="folder", model_version=NAMES[1], pictures=9, faces=0, unreadable=9, without_face=0,
        uncertain=0, emotions={}, mean_confidence=None, confidence_threshold=0.4, annotated=0,
        errors=tuple((name, name) for name in NAMES), seconds=1.0, faces_per_second=0.0, figures={NAMES[1]: b"png"},
    )  # fmt: skip

    found = harmless(report.page())

    assert NAMES[0] in found.text
    assert NAMES[6] in found.text


def test_names_of_runs_and_tags_are_text_in_the_comparison() -> None:
    rows = tuple(
        Row(
            "champion",
            name,
            RunFacts(name, name, "1", name, name),
            dict.fromkeys(("dataset", "weights", "decision"), name),
        )
        for name in NAMES
    )

    found = harmless(render(Comparison(NAMES[0], NAMES[1], rows, "http://127.0.0.1:5000/#/x", NAMES[2]), "html"))

    assert NAMES[6] in found.text


def test_the_card_of_a_bundle_becomes_a_page_without_anything_of_its_own() -> None:
    markdown = "# title\n\n" + "\n\n".join(NAMES) + "\n\n[a](javascript:alert(1)) ![b](http://evil.example/x.png)\n"

    found = harmless(card_page(NAMES[0], markdown))

    assert found.sources == []
    assert "<script>alert(1)</script>.png" in found.text


def page_templates() -> list[str]:
    return sorted(path.name for path in TEMPLATES.glob("*.html.j2"))


@pytest.mark.parametrize("template", page_templates())
def test_no_template_marks_a_value_as_safe(template: str) -> None:
    tree = Environment(loader=FileSystemLoader(TEMPLATES)).parse((TEMPLATES / template).read_text(encoding="utf-8"))

    for marked in tree.find_all(nodes.Filter):
        if marked.name == "safe":
            assert marked.node is not None
            assert not [*marked.node.find_all((nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Call))]
            assert isinstance(marked.node, nodes.Const)


def test_every_value_of_a_page_is_escaped() -> None:
    class Report:
        figures = {NAMES[1]: b"png"}  # noqa: RUF012

        def numbers(self) -> dict[str, float]:
            return dict.fromkeys(NAMES, 1.5)

    page = render_page("figures.html.j2", title=NAMES[0], report=Report())

    found = harmless(page)
    assert all(name.replace("\r", "\n") in found.text.replace("\r", "\n") for name in NAMES)


def test_names_of_files_are_text_on_the_page_of_doubtful_labels_and_stay_whole_in_its_table() -> None:
    names = [name.replace("\n", "\\n").replace("\r", "\\r") for name in NAMES]
    table = pd.DataFrame({"file": names, "given": "sad", "likely": "happy", "confidence": 0.9, "margin": 0.8})
    table = table.assign(doubtful="yes", action="keep", label="happy")
    faces = FaceSet(
        NAMES[0], "folder", ("happy", "sad"), np.zeros((len(names), 8, 8), np.uint8), pd.DataFrame({"source": names})
    )
    classes = [AuditedClass("sad", 10, len(names), 0.5)]
    report = LabelAuditReport(
        figures={}, faces=99, folds=5, accuracy=0.6, doubtful=len(names), classes=classes, joint=[[0.5, 0], [0, 0.5]]
    )

    page = review_page(report, table, faces)

    found = Found(page)
    assert page.count("<script") == page.count("</script>") == 2
    assert found.tags <= HARMLESS | {"script", "fieldset", "legend", "label", "input", "select", "option", "button"}
    assert not {name for name in found.attributes if name.startswith("on")}
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    content = re.search(r'<script type="application/json" id="table">(.*?)</script>', page, re.DOTALL)
    assert content is not None
    assert [row[0] for row in json.loads(content[1])["rows"]] == names
