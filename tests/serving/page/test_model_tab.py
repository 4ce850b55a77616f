"""The Model tab in Chromium: version, decision, scores and card, and a model that changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.stub import Stub
from tests.serving.page.visit import give

pytestmark = pytest.mark.serving
Open = Callable[..., Any]


def cells(page: Any, region: str) -> list[list[str]]:
    rows = page.get_by_role("region", name=region).locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def shown(open_page: Open) -> Any:
    page = open_page("model")
    page.get_by_text("As of").wait_for()
    return page


def test_the_tab_says_which_model_serves_since_when_and_why(open_page: Open) -> None:
    page = shown(open_page)
    said = page.inner_text("#model-facts")

    for words in ("the registry's champion", "27 November 2026", "0a1b2c3d" * 8, "Promoted.", "macro-F1 rose", "20 MB"):
        assert words in said
    assert page.get_by_role("link", name="Open the run in MLflow").get_attribute("rel") == "noreferrer noopener"


def test_scores_stand_beside_the_clean_ones_and_the_change_against_the_champion_before(open_page: Open) -> None:
    rows = cells(shown(open_page), "Test figures")

    assert rows[0] == ["accuracy", "69.29%", "+1.48 points", "68.42%", "+2.57 points"]
    assert [row[0] for row in rows] == ["accuracy", "macro F1", "faces", "expected calibration error"]


def test_the_card_is_shown_and_nothing_in_it_is_run(open_page: Open) -> None:
    page = shown(open_page)

    assert page.get_by_role("heading", name="Model card: face-emotion-classifier").is_visible()
    assert page.get_by_text("Emotion recognition at work.").is_visible()
    assert page.get_by_text("<img src=x onerror=").is_visible()
    assert page.title() == "Face emotions"
    assert page.locator(".card a, .card img").count() == 0


def test_what_the_server_does_not_know_is_said(open_page: Open, stub: Stub) -> None:
    unknown = dict.fromkeys(("since", "decision", "previous", "card", "mlflow"))
    stub.facts.update(unknown, metrics={}, source="bundle")
    said = shown(open_page).inner_text("#model-facts")

    for words in (
        "the bundle that the settings name",
        "not known",
        "no decision",
        "no figures",
        "no card",
        "not linked",
    ):
        assert words in said


def test_an_address_that_is_not_of_the_web_is_not_a_link(open_page: Open, stub: Stub) -> None:
    stub.facts["mlflow"] = "javascript:alert(1)"

    assert shown(open_page).locator("#model-facts a").count() == 0


def test_a_new_champion_is_announced(open_page: Open, stub: Stub, wall: Path) -> None:
    page = open_page()
    page.get_by_text("Model face-emotion-classifier, version 7 (registry).").wait_for()
    stub.facts.update(version="8", sha256="f" * 64)
    give(page, wall)

    assert page.inner_text("#served-by") == (
        "Model face-emotion-classifier, version 8 (registry). It has just changed."
    )
