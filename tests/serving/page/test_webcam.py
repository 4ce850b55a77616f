"""The Webcam tab in Chromium with its fake camera: what is said before, numbers that stay, one frame under way."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.serving.page.stub import Asked, Refusal, Stub, face
from tests.serving.page.visit import until

pytestmark = pytest.mark.serving
Open = Callable[..., Any]


def two_that_move(number: int, asked: Asked) -> list[dict[str, Any]]:
    """Answer two faces that wander; the server lists them in another order each time."""
    step = min(3 * number, 150)
    faces = [face(60 + step, 100, 150, "happy", 0.8), face(380 - step / 3, 120, 140, "neutral", 0.6)]
    return faces if number % 2 else faces[::-1]


def start(page: Any, stub: Stub, frames: int) -> None:
    """Start the camera and wait until this many frames were sent."""
    page.get_by_role("button", name="Start the camera").click()
    for _ in range(400):
        if len(stub.asked) >= frames:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"only {len(stub.asked)} of {frames} frames were sent")


def test_the_notice_stands_before_the_camera_and_nothing_is_sent_until_it_is_started(
    open_page: Open, stub: Stub
) -> None:
    page = open_page("webcam")

    for words in ("What is computed", "What leaves this browser", "What is kept", "Who must know"):
        assert page.get_by_text(words).is_visible()
    assert page.evaluate("document.getElementById('webcam-video').srcObject") is None
    assert not stub.asked


def test_faces_keep_their_numbers_while_they_move(open_page: Open, stub: Stub) -> None:
    stub.script = two_that_move
    page = open_page("webcam")
    start(page, stub, 2)
    page.locator(".frame").nth(1).wait_for()
    seen = set()
    for _ in range(12):
        seen.add(tuple(sorted(page.locator("#webcam-faces h3").all_inner_texts())))
        page.wait_for_timeout(60)

    assert seen <= {(), ("Face #1: happy 80%", "Face #2: neutral 60%"), ("Face #1: neutral 60%", "Face #2: happy 80%")}
    assert len(seen - {()}) == 1


def test_one_frame_is_under_way_at_most_and_each_is_small(open_page: Open, stub: Stub) -> None:
    stub.script, stub.seconds = two_that_move, 0.05
    page = open_page("webcam")
    start(page, stub, 6)

    assert stub.most_under_way == 1
    assert {max(asked.size or (0, 0)) for asked in stub.asked} == {640}
    assert {asked.content_type for asked in stub.asked} == {"image/jpeg"}


def test_frames_a_second_and_latency_are_shown(open_page: Open, stub: Stub) -> None:
    stub.seconds = 0.1
    page = open_page("webcam")
    start(page, stub, 5)
    until(page, "document.getElementById('webcam-count').textContent === '0'")

    assert float(page.locator("#webcam-rate").inner_text()) > 0.5
    assert int(page.locator("#webcam-latency").inner_text().removesuffix(" ms")) >= 100


def test_stop_switches_the_camera_off_and_sends_no_more(open_page: Open, stub: Stub) -> None:
    stub.script = two_that_move
    page = open_page("webcam")
    start(page, stub, 2)
    page.get_by_role("button", name="Stop the camera").click()
    page.get_by_text("The camera is off.").wait_for()
    sent = len(stub.asked)
    page.wait_for_timeout(300)

    assert len(stub.asked) <= sent + 1  # the one that was under way
    assert page.evaluate("document.getElementById('webcam-video').srcObject") is None
    assert page.locator(".frame").count() == 0
    assert page.get_by_role("button", name="Start the camera").is_visible()


def test_another_tab_switches_the_camera_off_and_says_so(open_page: Open, stub: Stub) -> None:
    page = open_page("webcam")
    start(page, stub, 1)
    page.get_by_role("tab", name="Photo").click()
    page.get_by_role("tab", name="Webcam").click()

    assert page.get_by_text("The camera was switched off when you left this tab.").is_visible()


def test_the_picture_and_its_frames_are_mirrored_together(open_page: Open, stub: Stub) -> None:
    stub.script = lambda number, asked: [face(0, 100, 100, "happy")]
    page = open_page("webcam")
    start(page, stub, 1)

    def left_of_frame() -> float:
        page.wait_for_timeout(400)
        frame, video = (f"document.querySelector('{name}').getBoundingClientRect().x" for name in (".frame", "video"))
        return float(page.evaluate(f"{frame} - {video}"))

    mirrored = left_of_frame()
    page.get_by_label("Mirror the picture").uncheck()

    assert mirrored > 100
    assert left_of_frame() == pytest.approx(0, abs=1)


def test_a_busy_server_is_tried_once_more_after_the_seconds_that_it_names(open_page: Open, stub: Stub) -> None:
    stub.script = lambda number, asked: Refusal(503, "The queue is full.", 1) if number == 0 else []
    page = open_page("webcam")
    page.get_by_role("button", name="Start the camera").click()

    page.get_by_text("The server is busy. Trying again in 1 s").wait_for()
    page.get_by_text("No face found.").first.wait_for()


def test_a_server_that_stays_busy_ends_the_camera_with_its_sentence(open_page: Open, stub: Stub) -> None:
    stub.script = lambda number, asked: Refusal(503, "The queue is full.", 0)
    page = open_page("webcam")
    page.get_by_role("button", name="Start the camera").click()

    page.get_by_text("The queue is full.").wait_for()
    assert len(stub.asked) == 2
    assert page.evaluate("document.getElementById('webcam-video').srcObject") is None


@pytest.mark.parametrize(
    ("error", "said"), [("NotAllowedError", "was not allowed"), ("NotFoundError", "No camera was found")]
)
def test_a_camera_that_cannot_be_had_is_said_in_plain_words(open_page: Open, error: str, said: str) -> None:
    page = open_page("webcam")
    page.evaluate(
        "(name) => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('x', name); }; }", error
    )
    page.get_by_role("button", name="Start the camera").click()

    page.get_by_text(said).wait_for()
