"""The Photo tab in Chromium: pictures in, frames, bars, table and files out."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serving.page.stub import CLASSES, Refusal, Stub, face
from tests.serving.page.visit import give, kept

pytestmark = pytest.mark.serving
Open = Callable[..., Any]
TWO = [face(100, 120, 150, "happy", 0.87), face(400, 150, 150, "sad", 0.36)]


def test_a_photo_is_sent_as_it_is_and_its_faces_are_framed_and_listed(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.script = lambda number, asked: TWO
    page = open_page()

    assert give(page, wall) == "2 faces found."
    assert [(asked.content_type, asked.size) for asked in stub.asked] == [("image/png", (640, 400))]
    assert page.locator(".frame .chip").all_inner_texts() == ["1 happy 87%", "2 sad? 36%"]
    assert page.get_by_role("heading", name="Face 2: uncertain (sad 36%)").is_visible()
    assert page.locator(".faces .bars").first.locator("li").count() == len(CLASSES)


def test_a_frame_lies_where_the_server_saw_the_face(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.script = lambda number, asked: TWO
    page = open_page()
    give(page, wall)
    picture, frame = (page.locator(name).first.bounding_box() for name in (".stage img", ".frame"))

    shown = picture["width"] / 640
    assert (frame["x"] - picture["x"]) / shown == pytest.approx(100, abs=2)
    assert (frame["y"] - picture["y"]) / shown == pytest.approx(120, abs=2)
    assert frame["width"] / shown == pytest.approx(150, abs=2)


def test_a_photo_that_lies_on_its_side_is_framed_upright(open_page: Open, stub: Stub, tmp_path: Path) -> None:
    turned = Image.new("RGB", (400, 300), "white")
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned to the right
    turned.save(tmp_path / "turned.jpg", exif=exif)
    stub.script = lambda number, asked: [face(0, 200, 100, "happy")]
    page = open_page()
    give(page, tmp_path / "turned.jpg")
    picture, frame = (page.locator(name).first.bounding_box() for name in (".stage img", ".frame"))

    assert stub.asked[0].size == (300, 400)
    assert picture["width"] / picture["height"] == pytest.approx(3 / 4, rel=0.01)
    assert (frame["y"] - picture["y"]) / picture["height"] == pytest.approx(200 / 400, abs=0.01)


def test_bars_on_the_picture_can_be_switched_off(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.script = lambda number, asked: TWO
    page = open_page()
    give(page, wall)
    assert page.locator(".panel").count() == 2

    page.get_by_label("Bars on the picture").first.uncheck()

    assert page.locator(".panel").count() == 0


def test_a_photo_without_a_face_says_so(open_page: Open, wall: Path) -> None:
    assert give(open_page(), wall) == "No face found."


def test_faces_that_are_too_small_are_counted(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.too_small = 2

    assert give(open_page(), wall) == "No face found that is large enough. 2 faces are too small to be judged."


def test_a_file_of_several_pictures_is_said_to_be_one(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.first_of_several = True
    page = open_page()
    said = give(page, wall)

    assert said == "No face found. 1 file holds several pictures, of which only the first was looked at."
    assert page.locator("article.picture p").first.inner_text() == said


def test_several_photos_are_answered_one_after_the_other_and_one_that_fails_says_why(
    open_page: Open, stub: Stub, wall: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    stub.script = lambda number, asked: TWO if asked.size else Refusal(415, "the body is not a picture")
    page = open_page()
    said = give(page, wall, broken, wall)

    assert said == "2 photos answered: 4 faces found. 1 photo was not answered; each says why."
    assert page.locator("article.picture").nth(1).locator("p.problem").inner_text() == "The body is not a picture."
    assert stub.most_under_way == 1


def test_a_problem_of_a_single_photo_is_its_sentence(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.script = lambda number, asked: Refusal(413, "The picture has 90 million pixels; 40 million are allowed.")

    assert "90 million pixels; 40 million are allowed." in give(open_page(), wall)


def test_a_file_over_the_limit_is_not_sent(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.facts["limits"] = {**stub.facts["limits"], "max_file_bytes": 1000}
    page = open_page()
    page.get_by_text("Model face-emotion-classifier, version 7").wait_for()

    assert "the server takes at most 0.0 MB" in give(page, wall)
    assert not stub.asked


def test_a_server_that_is_gone_is_said(open_page: Open, wall: Path) -> None:
    page = open_page()
    page.get_by_text("Model face-emotion-classifier, version 7").wait_for()
    page.route("**/v1/**", lambda route: route.abort())

    assert "does not answer. Is it still running?" in give(page, wall)


def test_the_csv_has_a_row_for_each_face_and_each_photo_without_one(
    open_page: Open, stub: Stub, wall: Path, tmp_path: Path
) -> None:
    formula = tmp_path / "=1+1.png"
    formula.write_bytes(wall.read_bytes())
    stub.script = lambda number, asked: TWO if number == 0 else []
    page = open_page()
    give(page, wall, formula)
    rows = list(csv.DictReader(kept(page, "Download CSV").splitlines()))

    assert [(row["picture"], row["emotion"], row["problem"]) for row in rows] == [
        ("wall.png", "happy", ""), ("wall.png", "sad", ""), ("'=1+1.png", "", "no face found"),
    ]  # fmt: skip
    assert [float(rows[0][name]) for name in ("confidence", "happy", "x")] == [0.87, 0.87, 100]


def test_the_json_is_what_the_server_answered(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.script = lambda number, asked: TWO
    page = open_page()
    give(page, wall)
    (record,) = json.loads(kept(page, "Download JSON"))

    assert (record["picture"], record["faces"], record["model"]["version"]) == ("wall.png", TWO, "7")


def test_a_photo_can_be_pasted(open_page: Open, stub: Stub) -> None:
    stub.script = lambda number, asked: TWO
    page = open_page()
    page.evaluate(
        """async () => {
            const blob = await new Promise((done) => document.createElement('canvas').toBlob(done));
            const data = new DataTransfer();
            data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
        }"""
    )

    page.get_by_text("2 faces found.").first.wait_for()
    assert page.get_by_role("heading", name="pasted.png").is_visible()


def test_a_photo_can_be_dropped(open_page: Open, stub: Stub) -> None:
    page = open_page()
    page.evaluate(
        """async () => {
            const blob = await new Promise((done) => document.createElement('canvas').toBlob(done));
            const data = new DataTransfer();
            data.items.add(new File([blob], 'dropped.png', {type: 'image/png'}));
            const where = {dataTransfer: data, bubbles: true, cancelable: true};
            document.getElementById('photo-drop').dispatchEvent(new DragEvent('drop', where));
        }"""
    )

    page.get_by_text("No face found.").first.wait_for()
    assert len(stub.asked) == 1


def test_clear_forgets_the_photos(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.script = lambda number, asked: TWO
    page = open_page()
    give(page, wall)

    page.get_by_role("button", name="Clear").click()

    assert page.locator("article.picture").count() == 0
    assert page.locator("#photo-status").inner_text() == "No photo yet."


def test_a_name_from_outside_cannot_become_markup(open_page: Open, stub: Stub, wall: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>.png"
    hostile.write_bytes(wall.read_bytes())
    stub.script = lambda number, asked: TWO
    page = open_page()
    give(page, hostile)

    assert page.get_by_role("heading", name="<img src=x onerror=alert(1)>.png").is_visible()
    assert page.locator("img").count() == 1


def test_the_token_is_asked_for_sent_and_kept_for_the_tab(open_page: Open, stub: Stub, wall: Path) -> None:
    stub.token = "right"
    stub.script = lambda number, asked: TWO
    page = open_page()
    for token in ("wrong", "right"):
        page.get_by_role("textbox", name="Token").fill(token)
        page.get_by_role("button", name="Use it").click()
    page.get_by_text("Model face-emotion-classifier, version 7").wait_for()

    assert give(page, wall) == "2 faces found."
    assert stub.asked[-1].token == "Bearer right"
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]


def test_without_the_token_the_page_says_what_the_server_wants(open_page: Open, stub: Stub) -> None:
    stub.token = "right"
    page = open_page()
    page.get_by_role("textbox", name="Token").press("Escape")

    page.get_by_text("This server asks for a token.").first.wait_for()
