from dataclasses import replace
from typing import Any

import pytest

from tests.vision.lifecycle.training_facts import invented_facts
from tests.vision.reporting.tags import Tags
from vision.lifecycle.decision import Decision
from vision.lifecycle.run_report import RunContext, RunRequest, last_lines, note, run_page
from vision.lifecycle.training_facts import TrainingFacts
from vision.training.augmentation import AugmentationReport

RESOURCES = [
    {"step": "ingest_data", "seconds": 1.5, "peak_memory_mb": 700.0, "cached": True},
    {"step": "preprocess_data", "seconds": 2.0, "peak_memory_mb": 900.0, "cached": False},
    {"step": "train_model", "seconds": 90.0, "peak_memory_mb": 4000.0, "cached": False},
]


@pytest.fixture
def facts() -> TrainingFacts:
    return invented_facts()


@pytest.fixture
def decision() -> Decision:
    return Decision(
        outcome="held", reasons=["not shown to be better", "and drawn"], challenger="7", champion=None, faces=115,
        compared_faces=0, floors=[], scores={}, gains=[], confidence_level=0.95, only_champion_right=0,
        only_challenger_right=0, mcnemar_p=None, classes=[], confusions={}, figures={},
    )  # fmt: skip


def context(reader: str = "folder", **tags: str) -> RunContext:
    request = RunRequest(settings={"dataset": {"reader": reader}, "seed": 42}, tags=tags)
    return RunContext("swift-fox", "4db94b56", "models:/faces/7", request, RESOURCES)


def page(facts: TrainingFacts, decision: Decision, **changes: Any) -> str:
    return run_page(facts, AugmentationReport(settings={}, figures={}), decision, context(**changes))


def test_the_totals_are_those_of_the_steps_before_the_training() -> None:
    assert context().totals == {"data_seconds": 3.5, "data_peak_memory_mb": 900.0}
    assert replace(context(), resources=[]).totals == {"data_seconds": 0, "data_peak_memory_mb": 0.0}


def test_the_last_lines_name_run_model_page_and_decision(facts: TrainingFacts, decision: Decision) -> None:
    lines = last_lines(facts, decision, context(), "reports/report.html")

    assert (lines["MLflow run"], lines["model"]) == ("4db94b56", "models:/faces/7")
    assert lines["report"] == "reports/report.html"
    assert lines["held"] == "not shown to be better; and drawn"


def test_the_note_for_mlflow_begins_with_the_headline(facts: TrainingFacts) -> None:
    assert note(facts).startswith("test accuracy **64.12%** · test macro-F1 **58.35%**")


def test_the_page_has_every_part_of_the_run(facts: TrainingFacts, decision: Decision) -> None:
    shown = page(facts, decision, dataset="fer2013")

    tags = Tags(shown)
    assert (tags.well_formed, tags.open, tags.seen["h2"]) == (True, [], 9)
    for text in ("swift-fox", "<code>fer2013</code>", "train_model", "(from cache)", "epoch 2 of 3", "1.234"):
        assert text in shown
    assert "<td><code>dataset.reader</code></td><td><code>folder</code></td>" in shown


@pytest.mark.parametrize(("reader", "warned"), [("drawn", True), ("folder", False)])
def test_the_page_of_drawn_faces_says_that_they_prove_nothing(
    reader: str, warned: bool, facts: TrainingFacts, decision: Decision
) -> None:
    assert ('class="banner"' in page(facts, decision, reader=reader)) == warned


def test_the_page_of_a_run_whose_test_faces_were_all_in_training_counts_them(
    facts: TrainingFacts, decision: Decision
) -> None:
    whole = facts.evaluation
    official = replace(
        whole, scores={"test": whole.scores["test"]}, classes={"test": whole.classes["test"]}, faces={"test": 115}
    )

    assert "<i>clean</i> leaves out\n115 that" in page(replace(facts, evaluation=official), decision)


def test_hostile_names_in_tags_and_settings_are_text(facts: TrainingFacts, decision: Decision) -> None:
    assert "<script" not in page(facts, decision, dataset="<script>alert(1)</script>")


def test_what_could_not_be_measured_stands_in_the_last_lines_and_on_the_page(
    facts: TrainingFacts, decision: Decision
) -> None:
    whole = facts.evaluation
    subset = {name: {"test": getattr(whole, name)["test"]} for name in ("scores", "classes", "faces")}
    missing = {"validation": ("sad",), "test": ("happy", "angry")}
    gaps = replace(
        facts, evaluation=replace(whole, **subset), preprocessing=replace(facts.preprocessing, missing=missing)
    )

    lines, shown = last_lines(gaps, decision, context(), "report.html"), page(gaps, decision)

    assert lines["no validation face of"] == "sad"
    assert lines["no test face of"] == "happy, angry"
    assert lines["clean test faces"] == "none: every test face also came as training"
    assert "no validation face of: sad" in shown
    assert not {"no test face of", "clean test faces"} & last_lines(facts, decision, context(), "").keys()


def test_the_page_shows_no_score_of_a_class_without_a_test_face(facts: TrainingFacts, decision: Decision) -> None:
    classes = {"test": [{**row, "count": 0, "recall": 0.777} for row in facts.evaluation.classes["test"]]}

    shown = page(replace(facts, evaluation=replace(facts.evaluation, classes=classes)), decision)

    assert "0.777" not in shown
    assert '<td>happy</td>\n<td class="number">–</td>' in shown
