"""The Video tab in Chromium: a local file becomes a timeline of each face that can be clicked."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.scenes import scene, write_video
from tests.serving.page.stub import Asked, Refusal, Stub, face
from tests.serving.page.visit import kept, until

pytestmark = pytest.mark.serving
Open = Callable[..., Any]
SECONDS, RATE = 3, 5


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    walls = [scene((320, 240), [("happy", 1, 15 + 2 * step, 20)]) for step in range(SECONDS * RATE)]
    return write_video(tmp_path_factory.mktemp("video") / "walk.webm", walls, RATE)


def two_faces(number: int, asked: Asked) -> list[dict[str, Any]]:
    """Answer a face in each of six frames, and a second one from the third on."""
    first = face(20 + number, 20, 150, "happy" if number < 3 else "surprise", 0.8)
    return [first, face(200, 50, 100, "sad", 0.7)][: 1 if number < 3 else 2]


def find_emotions(page: Any, video: Path) -> str:
    """Choose a video, sample it, and return what the status line says at the end."""
    page.get_by_label("Choose a video").set_input_files(str(video))
    page.get_by_text("is ready.").wait_for()
    page.get_by_role("button", name="Find the emotions").click()
    page.locator("#video-status", has_text="done:").wait_for()
    return str(page.locator("#video-status").inner_text())


def test_a_video_is_sampled_at_the_rate_and_each_face_gets_a_timeline(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = two_faces
    page = open_page("video")

    assert find_emotions(page, video) == "6 frames done: 2 faces."
    assert [asked.size for asked in stub.asked] == [(320, 240)] * 6
    assert page.get_by_role("slider").count() == 2
    assert "Seen from 1.5 s to 2.5 s in 3 frames; on average most likely sad (70%)." in page.inner_text(
        "#video-timeline"
    )


def test_a_click_on_the_timeline_jumps_to_that_second(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = two_faces
    page = open_page("video")
    find_emotions(page, video)
    plot = page.get_by_role("slider", name="Timeline of face 2")
    size = plot.bounding_box()

    plot.click(position={"x": size["width"] * 2 / SECONDS, "y": 20})

    until(page, "Math.abs(document.getElementById('video-player').currentTime - 2) < 0.05")
    assert plot.get_attribute("aria-valuetext") == "2.0 s: sad 70%"


def test_the_timeline_is_moved_by_the_keyboard(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = two_faces
    page = open_page("video")
    find_emotions(page, video)
    plot = page.get_by_role("slider", name="Timeline of face 2")

    plot.press("ArrowRight")
    until(page, "document.getElementById('video-player').currentTime === 0.5")
    assert plot.get_attribute("aria-valuetext") == "0.5 s: not in view"
    plot.press("End")

    until(page, f"document.getElementById('video-player').currentTime > {SECONDS} - 0.3")


def test_the_csv_has_seconds_tracks_and_smoothed_probabilities(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = two_faces
    page = open_page("video")
    find_emotions(page, video)
    rows = list(csv.DictReader(kept(page, "Download CSV").splitlines()))

    expected = [("0", "1"), ("0.5", "1"), ("1", "1"), ("1.5", "1"), ("1.5", "2"), ("2", "1"), ("2", "2"), ("2.5", "1")]
    assert [(row["seconds"], row["face"]) for row in rows][:8] == expected
    assert 0.04 < float(rows[3]["happy"]) < 0.8  # the answer jumped from 0.8 to 0.03
    assert rows[0]["happy"] == "0.8"


def test_frames_without_a_face_are_counted_and_are_rows(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = lambda number, asked: two_faces(0, asked) if number < 4 else []
    stub.too_small = 1
    page = open_page("video")

    assert find_emotions(page, video) == (
        "6 frames done: 1 face, 2 frames without a face, 6 faces too small to be judged."
    )
    assert kept(page, "Download CSV").splitlines()[-1].startswith("2.5,,,")


def test_cancel_keeps_what_was_found(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script, stub.seconds = two_faces, 0.3
    page = open_page("video")
    page.get_by_label("Frames a second").select_option("10")
    page.get_by_label("Choose a video").set_input_files(str(video))
    page.get_by_text("is ready.").wait_for()
    page.get_by_role("button", name="Find the emotions").click()
    page.get_by_role("progressbar", name="Frames done").wait_for()
    until(page, "document.getElementById('video-progress').value > 0.05")
    page.get_by_role("button", name="Cancel").click()

    page.get_by_text("Cancelled.").wait_for()
    assert " of 30 frames done: 1 face" in page.inner_text("#video-status")
    assert page.get_by_role("slider").count() == 1


def test_a_problem_stops_the_sampling_with_its_sentence(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = lambda number, asked: Refusal(504, "The time was up.") if number == 2 else two_faces(0, asked)

    assert find_emotions(open_page("video"), video) == "The time was up. 2 of 6 frames done: 1 face."


def test_a_busy_server_is_waited_for(open_page: Open, stub: Stub, video: Path) -> None:
    stub.script = lambda number, asked: Refusal(503, "Full.", 0) if number == 1 else two_faces(0, asked)

    assert find_emotions(open_page("video"), video) == "6 frames done: 1 face."


def test_a_file_that_is_not_a_video_is_refused_in_plain_words(open_page: Open, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    page = open_page("video")
    page.get_by_label("Choose a video").set_input_files(str(broken))

    page.get_by_text("This browser cannot decode that video.").wait_for()
    assert page.get_by_role("button", name="Find the emotions").is_disabled()
