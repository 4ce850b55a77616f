import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from configs.lifecycle_settings import CardSettings
from configs.settings import Settings
from tests.vision.lifecycle.training_facts import invented_facts
from tests.vision.reporting.tags import Tags
from vision.data.relabelling import Relabelling
from vision.lifecycle.model_card import ModelCard, describe_version, find_weakest_class, shorten_card, write_card
from vision.lifecycle.training_facts import TrainingFacts
from vision.reporting.reports import Report

HOSTILE = "<script>alert(1)</script> | `code` [link](http://evil.example) ![](http://evil.example/a.png)\n# heading\\"


@pytest.fixture
def reports() -> dict[str, Any]:
    """What a card is made of; no number stands in it twice."""
    return {
        "title": "Model card: faces, version 7",
        "about": {"MLflow run": "4db94b56", "git commit": "43c5a2b0"},
        **vars(invented_facts()),
        "card": CardSettings(
            intended_use=("Teaching, where (5.1) a person looks.",),
            off_limits=("At work, Article 5(1)(f).", "For hiring."),
            limits=("Labels agree on 64.5% of the faces (FER+).",),
            origin=("A larger network taught it, by `gpu.sh`.",),
        ),
    }


def write(*, title: str, about: dict[str, str], card: CardSettings, **facts: Any) -> ModelCard:
    return write_card(title, about, TrainingFacts(**facts), card)


@pytest.fixture
def card(reports: dict[str, Any]) -> ModelCard:
    return write(**reports)


def section(markdown: str, heading: str) -> str:
    """The text below a heading, up to the next heading of the same depth."""
    marks = heading.split(" ")[0]
    return re.split(rf"^{marks} ", markdown.split(f"{heading}\n")[1], flags=re.MULTILINE)[0]


def test_sections_stand_in_the_order_that_readers_expect(card: ModelCard) -> None:
    assert re.findall(r"^## (.*)$", card.markdown, flags=re.MULTILINE) == [
        "Headline metrics", "Model details", "Intended use", "Uses that are off limits", "Data", "Training",
        "Evaluation", "Calibration", "Limits",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("## Headline metrics", "| 64.12% (63.11% to 66.14%) | 58.35% | 25.00% (sad) | 0.0441 |"),
        ("## Model details", "| git commit | 43c5a2b0 |"),
        ("## Data", "| images | 32,137 |"),
        ("## Data", "| test faces that are pixel-identical to a face that came as training | 29 |"),
        ("### Faces by split", "| as the data came | | 1,141 | 0 | 117 |"),
        ("### Faces by split", "| leaked | 19 | 1,007 | 112 | 115 |"),
        ("### Faces by class, as the data came", "| sad | 320 | 33 |"),
        ("### Faces by class, as the data came", "| all | 1,141 | 117 |"),
        ("### Checks", "| leaked | Is it absent? | failed: warning | 279 of 3,579 (7.80%) | at most 0.50% | 2 |"),
        ("### Checks", "| size | Is it large? | passed | 0 of 3,111 (0.00%) | at most 1.25% | 0 |"),
        ("## Training", "| phases | head: 1 epoch, top: 2 epochs |"),
        ("## Training", "| kept epoch | 2 of 3 (phase top) |"),
        ("## Training", r"| chosen by | val\_accuracy |"),
        ("## Training", r"| val\_accuracy of the kept epoch | 0.6489 |"),
        ("## Training", "| precision | bfloat16 |"),
        (
            "## Training",
            "| generalisation gap | 12.36%: accuracy 77.23% on 997 training faces, unaugmented and with validation's "
            "class shares, 64.87% on validation |",
        ),
        ("### When uncertain faces are left out", "| 70%, confidence from 0.532 | 73.17% | 72.33% |"),
        (
            "### When uncertain faces are left out",
            "Conformal sets: all emotions with a probability of at least 0.1357, which was fitted on 113 validation "
            "faces so that 90% of the sets hold the right emotion. Found: 90.43% with 2.345 emotions a set (all test "
            "faces), 89.53% with 2.346 emotions a set (clean).",
        ),
        ("## Evaluation", "| accuracy | 64.12% (63.11% to 66.14%) | 63.48% (62.47% to 65.50%) |"),
        ("### By class", "| sad | 62.34% | 25.00% | 35.69% | 44 |"),
        ("### By class", "| sad | 62.34% | 25.00% | 35.69% | 39 |"),
        ("### Weakest class, on all test faces", "| recognised | 11 of 44 (25.00%) |"),
        ("### Weakest class, on all test faces", "| most often taken for | happy: 20 of 44 (45.45%) |"),
        (
            "### What breaks it",
            "91 test faces were changed without new labels and answered again; unchanged, their accuracy is 65.93%. "
            "Worst: noisy 36.26%, darker 52.75%, half resolution 63.74%.",
        ),
        ("## Calibration", "| expected calibration error | 0.0441 | 0.0462 |"),
        ("## Calibration", "| negative log likelihood | 1.0123 | 1.0345 |"),
        (
            "## Calibration",
            "Calibrated on the validation split by temperature and offset of each emotion; mean temperature 1.234.",
        ),
    ],
)
def test_what_was_measured_stands_in_its_section(card: ModelCard, heading: str, row: str) -> None:
    assert row in section(card.markdown, heading).splitlines()


def leaves(value: Any) -> Iterator[Any]:
    """Every number and text in nested mappings and sequences, their keys too."""
    if isinstance(value, dict):
        yield from leaves([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def numbers(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?%?", text))


def test_no_number_stands_in_the_card_that_did_not_go_in(reports: dict[str, Any], card: ModelCard) -> None:
    given = [value.facts() if isinstance(value, Report) else value for value in reports.values()]
    went_in = list(leaves([*given, reports["card"].model_dump()]))
    forms = ("{:,}", "{:.0%}", "{:.2%}", "{:.1f}", "{:.3f}", "{:.4f}")
    shown = {form.format(value) for value in went_in if isinstance(value, float | int) for form in forms}
    texts = set().union(*(numbers(value) for value in went_in if isinstance(value, str)))
    counted = {"1", "2", "3", "5"}  # epochs, examples, dropped faces
    computed = {"12.36%", "7.80%", "0.00%", "1,141", "117", "11", "44", "25.00%", "45.45%"}  # shares and sums

    assert numbers(card.markdown) <= shown | texts | counted | computed


@pytest.mark.parametrize(
    ("name", "change", "before", "after"),
    [
        ("about", lambda about: {**about, "git commit": "bad5eed"}, "43c5a2b0", "| git commit | bad5eed |"),
        ("validation", lambda report: replace(report, images=99), "32,137", "| images | 99 |"),
        ("balance", lambda report: replace(report, imbalance_ratio=16.6), "6.4 |", "16.6 |"),
        ("balance", lambda report: replace(report, normalized_entropy=0.5), "0.912", "0.500"),
        (
            "preprocessing",
            lambda report: replace(report, before={"train": 2345}),
            "as the data came | | 1,141",
            "2,345",
        ),
        ("history", lambda history: replace(history, best_epoch=1), "0.6489", "1 of 3 (phase head)"),
        ("evaluation", lambda report: replace(report, confidence_level=0.9), "95%", "90% bootstrap"),
        ("evaluation", lambda report: replace(report, confusion=[[1, 8, 0], [0, 9, 0], [0, 0, 9]]), "44 (", "1 of 9"),
        ("temperature", lambda value: value / 2, "1.234", "0.617"),
        ("card", lambda card: card.model_copy(update={"limits": ("Faces are drawn.",)}), "64.5%", "Faces are drawn."),
        ("card", lambda card: card.model_copy(update={"origin": ("By hand.",)}), "A larger network", "By hand."),
    ],
)
def test_a_changed_value_changes_the_card(
    reports: dict[str, Any], card: ModelCard, name: str, change: Callable[[Any], Any], before: str, after: str
) -> None:
    changed = write(**{**reports, name: change(reports[name])}).markdown

    assert (before in card.markdown, before in changed) == (True, False)
    assert (after in card.markdown, after in changed) == (False, True)


def test_the_sentences_of_the_settings_stand_there_verbatim(reports: dict[str, Any], small_settings: Settings) -> None:
    settings = small_settings.card

    markdown = write(**{**reports, "card": settings}).markdown

    assert section(markdown, "## Intended use").strip().splitlines() == [f"- {s}" for s in settings.intended_use]
    assert section(markdown, "## Uses that are off limits").strip().splitlines() == [
        f"- {sentence}" for sentence in settings.off_limits
    ]
    assert section(markdown, "## Limits").strip().splitlines() == [f"- {sentence}" for sentence in settings.limits]


def test_without_sentences_the_card_says_that_there_are_none(reports: dict[str, Any]) -> None:
    nothing = CardSettings(intended_use=(), off_limits=(), limits=(), origin=())

    assert write(**{**reports, "card": nothing}).markdown.count("Not stated in the settings.") == 3


def test_without_clean_test_faces_there_is_no_column_for_them(reports: dict[str, Any]) -> None:
    whole = reports["evaluation"]
    official = replace(
        whole, scores={"test": whole.scores["test"]}, classes={"test": whole.classes["test"]}, faces={"test": 115}
    )

    markdown = write(**{**reports, "evaluation": official}).markdown

    assert "| expected calibration error | 0.0441 |" in markdown.splitlines()


def test_classes_without_test_faces_are_not_the_weakest(reports: dict[str, Any]) -> None:
    evaluation = replace(reports["evaluation"], confusion=[[0, 0, 0], [2, 6, 2], [0, 0, 4]])

    weakest = find_weakest_class(evaluation)

    assert (weakest.name, weakest.recall, weakest.taken_for, weakest.confused) == ("sad", 0.6, ("happy", "angry"), 2)


def test_a_model_without_mistakes_takes_no_class_for_another(reports: dict[str, Any]) -> None:
    evaluation = replace(reports["evaluation"], confusion=[[3, 0, 0], [0, 6, 0], [0, 0, 4]])

    assert "| most often taken for | no other class |" in write(**{**reports, "evaluation": evaluation}).markdown


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(card: ModelCard) -> None:
    tags = Tags(card.html)

    assert (tags.well_formed, tags.open, tags.links) == (True, [], [])
    assert (tags.seen["h1"], tags.seen["h2"], tags.seen["table"]) == (1, 9, 13)
    assert "http" not in card.html


def test_hostile_names_are_shown_and_do_nothing(reports: dict[str, Any], card: ModelCard) -> None:
    plain = Tags(card.html)
    validation = replace(reports["validation"], dataset=HOSTILE)
    hostile = {
        "title": HOSTILE,
        "about": {"MLflow run": HOSTILE, HOSTILE: "43c5a2b0"},
        "validation": validation,
        "card": CardSettings(
            intended_use=(HOSTILE,), off_limits=(HOSTILE, HOSTILE), limits=(HOSTILE,), origin=(HOSTILE,)
        ),
    }

    written = write(**{**reports, **hostile})
    tags = Tags(written.html)

    assert tags.seen == plain.seen  # as many cells, list items and headings as with harmless names
    assert (tags.well_formed, tags.links) == (True, [])
    assert "<script" not in written.markdown + written.html
    assert (
        "&lt;script&gt;alert(1)&lt;/script&gt; | `code` [link](http://evil.example) "
        "![](http://evil.example/a.png) # heading\\</td>" in written.html
    )


def test_a_version_is_identified_by_what_its_run_says_of_data_weights_and_code() -> None:
    about = describe_version("faces", "7", "4db9", {"git_commit": "43c5", "mlflow.user": "me", "dataset": "drawn"})

    assert about == {"model": "faces", "version": "7", "run": "4db9", "dataset": "drawn", "git_commit": "43c5"}


def test_a_class_without_a_test_face_and_an_empty_subset_are_named(reports: dict[str, Any]) -> None:
    whole = reports["evaluation"]
    rows = [{**row, "count": 0, "recall": 0.0} if row["class"] == "happy" else row for row in whole.classes["test"]]
    evaluation = replace(
        whole, classes={"test": rows}, scores={"test": whole.scores["test"]}, faces={"test": whole.faces["test"]},
        confusion=[[0, 0, 0], *whole.confusion[1:]],
    )  # fmt: skip
    missing = {"validation": ("sad",), "test": ("happy",)}

    card = write(
        **{**reports, "evaluation": evaluation, "preprocessing": replace(reports["preprocessing"], missing=missing)}
    ).markdown

    assert "| happy | – | – | – | 0 |" in card
    assert "No test face is clean." in card
    assert "No test face of happy: its scores are unknown" in card
    assert "No validation face of sad: the kept epoch and the calibration were chosen without it." in card


def test_a_card_that_fits_stays_as_it_is() -> None:
    assert shorten_card("one\ntwo\n", 8, "elsewhere") == "one\ntwo\n"


@pytest.mark.parametrize("line", ["short", "a line of 300 " * 20, "no end" * 1000])
def test_a_shortened_card_has_whole_lines_and_the_place_of_all_of_it(line: str) -> None:
    shortened = shorten_card("\n".join([line] * 1000), 1000, "elsewhere")

    *lines, empty, ending = shortened.splitlines()
    assert len(shortened) <= 1000
    assert set(lines) <= {line}
    assert empty == ""
    assert f"{1000 - len(lines)} of 1000 lines" in ending
    assert "elsewhere" in ending


def test_changed_labels_and_doubtful_faces_stand_in_the_card_where_there_are_any(reports: dict[str, Any]) -> None:
    done = Relabelling("<b>x.csv", 7, 2, 31, 0, 1, 0, {"sad → fear": 4, "sad → happy": 3})
    relabelled = {
        **reports,
        "preprocessing": replace(reports["preprocessing"], relabelling=done),
        "history": replace(reports["history"], doubtful_faces=31, doubtful_weight=0.25),
    }

    markdown = write(**relabelled).markdown

    assert "7 labels changed, 2 faces dropped, 31 doubtful, 1 rows name a file" in markdown.replace("\\", "")
    assert "Changed: sad → fear 4, sad → happy 3." in markdown
    assert "| faces with a doubtful label | 31, each counts 0.25 of another |" in markdown
    assert "<b>" not in write(**relabelled).html.replace("<b>x", "")
    plain = write(**reports).markdown
    assert "doubtful" not in plain
    assert "Labels of training faces by" not in plain
