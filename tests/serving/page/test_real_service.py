"""The page with the service itself, as run.py --serve starts it: the same answers, under the policy of the service."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.serving.bundles import write_tiny_bundle
from tests.serving.page.scenes import scene, write_video
from tests.serving.page.visit import give, kept
from tests.serving.test_process import served

pytestmark = pytest.mark.serving
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "content").mkdir()
    bundle = write_tiny_bundle(folder / "champion.zip", folder / "content", content)
    with served(folder, "--serving.bundle", str(bundle)) as process:
        yield process.url


@pytest.fixture
def two_faces(photo: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "two.jpg"
    path.write_bytes(photo)
    return path


def test_the_page_has_the_faces_and_probabilities_that_the_service_answers(
    open_page: Open, url: str, two_faces: Path
) -> None:
    page = open_page(address=url)
    said = give(page, two_faces)
    (record,) = json.loads(kept(page, "Download JSON"))
    answer = httpx.post(f"{url}/v1/emotions", content=two_faces.read_bytes()).json()

    assert said == "2 faces found."
    assert record == {"picture": "two.jpg", **answer}


def test_a_problem_of_the_service_is_shown_as_its_sentence(open_page: Open, url: str, tmp_path: Path) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(b"%PDF-1.7 and so on")

    assert "Not an image: the file starts with" in give(open_page(address=url), other)


def test_the_webcam_and_the_model_tab_work_under_the_policy_of_the_service(open_page: Open, url: str) -> None:
    page = open_page("webcam", address=url)
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_text("No face found.").first.wait_for()
    page.get_by_role("tab", name="Model").click()
    page.get_by_text("As of").wait_for()

    assert "the bundle that the settings name" in page.inner_text("#model-facts")


def test_a_video_becomes_a_timeline(open_page: Open, url: str, tmp_path: Path) -> None:
    walls = [scene((480, 360), [("happy", 1, 100 + 4 * step, 80)]) for step in range(10)]
    video = write_video(tmp_path / "walk.webm", walls, 5)
    page = open_page("video", address=url)
    page.get_by_label("Choose a video").set_input_files(str(video))
    page.get_by_text("is ready.").wait_for()
    page.get_by_role("button", name="Find the emotions").click()

    page.locator("#video-status", has_text="4 frames done: 1 face.").wait_for()
    assert page.get_by_role("slider").count() == 1
