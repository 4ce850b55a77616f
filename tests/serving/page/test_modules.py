"""The page's own arithmetic, called in the browser: tracking, smoothing, places, CSV, scores and Markdown."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.serving
Call = Callable[..., Any]

ONE, TWO = {"x": 0, "y": 0, "width": 100, "height": 100}, {"x": 300, "y": 0, "width": 100, "height": 100}


@pytest.fixture(scope="module")
def call(browser: Any, one_stub: Any) -> Any:
    """Return a function that runs a line of JavaScript with a module's names as `m` and what it is given as `given`."""
    one_stub.reset()
    page = browser.new_page()
    page.goto(one_stub.address)

    def run(module: str, line: str, given: Any = None) -> Any:
        script = f"async (given) => {{ const m = await import('/page/{module}.js'); {line} }}"
        return page.evaluate(script, given)

    yield run
    page.close()


def seen(box: dict[str, float], happy: float = 0.8) -> dict[str, Any]:
    return {"box": box, "probabilities": {"happy": happy, "sad": 1 - happy}}


def moved(box: dict[str, float], x: float) -> dict[str, float]:
    return {**box, "x": box["x"] + x}


def track(call: Call, frames: list[tuple[float, list[dict[str, Any]]]], **options: float) -> list[list[dict[str, Any]]]:
    line = "const t = new m.Tracker(given[1]); return given[0].map(([at, faces]) => t.update(faces, at));"
    return call("tracks", line, [frames, options])


def ids(frames: list[list[dict[str, Any]]]) -> list[list[int]]:
    return [[face["id"] for face in faces] for faces in frames]


def test_a_face_that_moves_keeps_its_number(call: Call) -> None:
    frames = [(step / 10, [seen(moved(ONE, 30 * step)), seen(moved(TWO, 30 * step))]) for step in range(5)]

    assert ids(track(call, frames)) == [[1, 2]] * 5


def test_numbers_stay_with_their_faces_when_the_server_lists_them_in_another_order(call: Call) -> None:
    assert ids(track(call, [(0, [seen(ONE), seen(TWO)]), (0.1, [seen(TWO), seen(ONE)])])) == [[1, 2], [2, 1]]


def test_a_face_that_is_missed_for_a_moment_keeps_its_number(call: Call) -> None:
    assert ids(track(call, [(0, [seen(ONE)]), (0.3, []), (0.6, []), (0.9, [seen(ONE)])]))[-1] == [1]


def test_a_face_that_was_away_for_longer_gets_a_new_number(call: Call) -> None:
    assert ids(track(call, [(0, [seen(ONE)]), (0.6, []), (1.1, []), (1.2, [seen(ONE)])]))[-1] == [2]


def test_a_slow_server_does_not_change_the_numbers(call: Call) -> None:
    assert ids(track(call, [(0, [seen(ONE)]), (3, [seen(ONE)]), (6, [seen(ONE)])])) == [[1], [1], [1]]


def test_two_faces_never_share_a_number(call: Call) -> None:
    assert ids(track(call, [(0, [seen(ONE)]), (0.1, [seen(moved(ONE, 10)), seen(moved(ONE, 20))])]))[-1] == [1, 2]


def test_probabilities_follow_a_change_within_half_a_second_by_63_percent(call: Call) -> None:
    frames = track(call, [(0, [seen(ONE, 1.0)]), (0.5, [seen(ONE, 0.0)])])

    assert frames[-1][0]["probabilities"]["happy"] == pytest.approx(0.3679, abs=1e-4)
    assert sum(frames[-1][0]["probabilities"].values()) == pytest.approx(1)


def test_the_label_follows_the_smoothed_probabilities(call: Call) -> None:
    frames = track(call, [(0, [seen(ONE, 0.9)]), (0.1, [seen(ONE, 0.4)])], threshold=0.85)

    assert (frames[-1][0]["emotion"], frames[-1][0]["uncertain"]) == ("happy", True)


@pytest.mark.parametrize(("x", "expected"), [(0, 1.0), (50, 1 / 3), (100, 0.0)])
def test_the_overlap_is_the_shared_area_over_the_covered_one(call: Call, x: float, expected: float) -> None:
    assert call("boxes", "return m.overlap(...given)", [ONE, moved(ONE, x)]) == pytest.approx(expected)


def test_a_panel_stands_inside_the_picture_and_beside_the_faces(call: Call) -> None:
    given = [ONE, {"width": 90, "height": 90}, {"width": 400, "height": 300}, [moved(ONE, 100)]]
    place = call("boxes", "return m.placeBeside(...given)", given)

    assert call("boxes", "return given.slice(1).map((b) => m.shared(given[0], b))", [place, ONE, given[3][0]]) == [0, 0]
    assert 0 <= place["x"] <= 310
    assert 0 <= place["y"] <= 210


def test_a_mirrored_box_is_as_far_from_the_other_edge(call: Call) -> None:
    given = [{**ONE, "x": 20}, {"width": 200, "height": 100}, {"width": 400, "height": 200}, True]

    assert call("boxes", "return m.scaled(...given)", given) == {"x": 160, "y": 0, "width": 200, "height": 200}


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_csv_cell_that_a_spreadsheet_would_compute_gets_an_apostrophe(call: Call, text: str) -> None:
    (row,) = csv.reader(io.StringIO(call("table", "return m.toCsv([[given]])", text), newline=""))

    assert row == [f"'{text}"]


@pytest.mark.parametrize("text", ['a "b", c', "two\nlines", "ä;ö", "1-2"])
def test_a_csv_cell_is_read_back_as_it_was(call: Call, text: str) -> None:
    (row,) = csv.reader(io.StringIO(call("table", "return m.toCsv([[given, -1.5]])", text), newline=""))

    assert row == [text, "-1.5"]


def test_scores_with_clean_in_their_name_stand_beside_those_of_all_faces(call: Call) -> None:
    now, before = {"test/accuracy": 0.7, "test_clean/accuracy": 0.6}, {"test/accuracy": 0.65}
    (row,) = call("metrics", "return m.arrange(...given)", [now, before])

    assert row == {"subset": "test", "metric": "accuracy", "all": 0.7, "clean": 0.6, "before": 0.65}


def test_a_change_is_written_with_its_sign(call: Call) -> None:
    lines = "return [m.change('accuracy', .7, .65), m.change('loss', 1, 1.25), m.change('f1', .5, undefined)]"

    assert call("metrics", lines) == ["+5.00 points", "−0.2500", ""]


def markup(call: Call, text: str) -> str:
    line = "const d = document.createElement('div'); d.append(...m.renderMarkdown(given)); return d.innerHTML;"
    return call("markdown", line, text)


def test_markdown_of_a_card_becomes_elements(call: Call) -> None:
    table = '<table><thead><tr><th class="">a</th><th class="number">b</th></tr></thead>'

    assert markup(call, "## A\n\nb **c** `d`\ne") == "<h4>A</h4><p>b <strong>c</strong> <code>d</code> e</p>"
    assert markup(call, "- a\n- b\n  c") == "<ul><li>a</li><li>b c</li></ul>"
    assert table in markup(call, "| a | b |\n| --- | ---: |\n| 1 | 2\\|3 |")
    assert "<td class=\"number\">2|3</td>" in markup(call, "| a | b |\n| --- | ---: |\n| 1 | 2\\|3 |")  # fmt: skip


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![a](//b/c.png)"]
)
def test_html_links_and_images_in_markdown_stay_text(call: Call, text: str) -> None:
    shown = markup(call, text)

    assert call("dom", "const d = new DOMParser().parseFromString(given, 'text/html'); return d.body.innerText", shown)
    assert not {tag for tag in ("<script", "<img", "<a ") if tag in shown}


@pytest.mark.parametrize(
    "text", ["\\", "|", "| a\n|", "```\nnever closed", "**", "*" * 5000, "1)", "&lt", "#", "a\n# b"]
)
def test_broken_markdown_is_rendered_without_end_or_error(call: Call, text: str) -> None:
    assert isinstance(markup(call, text), str)
