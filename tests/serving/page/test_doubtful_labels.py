"""The page of doubtful labels in a real Chromium: what a person chooses is what training takes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from vision.data.faces import FaceSet
from vision.data.relabelling import Verdict, read_verdicts
from vision.evaluation.label_audit import LabelAuditReport, review_page

pytestmark = pytest.mark.serving
FILES = ['a "b", c.png', "d.png", "</script>e.png", "f.png"]


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Any:
    table = pd.DataFrame({"file": FILES, "given": ["sad", "happy", "sad", "sad"], "likely": "angry", "margin": 0.5})
    table = table.assign(confidence=[0.9, 0.8, 0.7, 0.6], doubtful="yes", action="keep", label="angry")
    names = ("angry", "happy", "sad")
    faces = FaceSet("faces", "folder", names, np.zeros((4, 8, 8), np.uint8), pd.DataFrame({"source": FILES}))
    report = LabelAuditReport(figures={}, faces=9, folds=2, accuracy=0.6, doubtful=4, classes=[], joint=[[1.0]])
    (tmp_path / "page.html").write_text(review_page(report, table, faces), encoding="utf-8")
    context = browser.new_context(accept_downloads=True, offline=True)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    context.close()
    assert not complaints


def test_the_choices_of_a_person_are_saved_as_the_table_that_training_takes(page: Any, tmp_path: Path) -> None:
    cards = page.locator(".card")
    cards.nth(0).locator("input[value=keep]").check()
    cards.nth(1).locator("select").select_option("sad")
    cards.nth(2).locator("input[value=drop]").check()

    with page.expect_download() as download:
        page.get_by_role("button", name="Save the table").click()
    download.value.save_as(tmp_path / "saved.csv")

    assert page.get_by_role("status").inner_text() == "3 of 4 decided"
    assert read_verdicts(tmp_path / "saved.csv", ("angry", "happy", "sad")) == {
        FILES[0]: Verdict("keep", "sad", False, "sad"),
        FILES[1]: Verdict("change", "sad", False, "happy"),
        FILES[2]: Verdict("drop", "angry", False, "sad"),
        FILES[3]: Verdict("keep", "angry", True, "sad"),
    }


def test_faces_are_grouped_by_their_given_label_and_keep_their_choices(page: Any) -> None:
    page.locator(".card").nth(2).locator("input[value=drop]").check()

    page.get_by_label("Group by").select_option("given")
    page.get_by_label("Sort by").select_option("file")

    assert page.locator(".group").all_inner_texts() == ["given happy", "given sad"]
    assert page.locator(".card legend").all_inner_texts() == ["2", "3", "1", "4"]
    assert page.locator(".card").nth(1).locator("input[value=drop]").is_checked()
