"""Takes the screenshots of docs/images/ with drawn faces: python -m tests.serving.page.screenshots."""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.conftest import PROJECT
from tests.serving.page.conftest import CHROMIUM, FLAGS
from tests.serving.page.scenes import Picture, scene, write_photo, write_video
from tests.serving.page.stub import CARD, Stub, face, running_stub
from vision.inference.plots import class_color

IMAGES = PROJECT / "docs" / "images"
WALL = [("happy", 1, 90, 120), ("surprise", 2, 385, 150), ("sad", 4, 680, 110)]
FACES = [face(108, 145, 155, "happy", 0.87), face(403, 180, 155, "surprise", 0.71), face(698, 140, 155, "sad", 0.36)]
LOWER = [(emotion, seed, left, top + 90) for emotion, seed, left, top in WALL]
RATE, FRAMES = 10, 120


def moving(frame: int) -> Picture:
    first, second = expressions(frame)
    return scene((640, 400), [(first, 1, 40 + frame, 90), (second, 2, 400, 120)])


def expressions(frame: int) -> tuple[str, str]:
    first = "happy" if frame < 50 else "surprise" if frame < 80 else "happy"
    return first, "sad" if frame < 70 else "neutral"


def in_video(number: int, _: Any) -> list[dict[str, Any]]:
    frame = number * RATE // 5
    first, second = expressions(frame)
    faces = [face(58 + frame, 110, 155, first, 0.85 - 0.02 * (number % 5)), face(418, 140, 155, second, 0.7)]
    return faces[:1] if 48 <= number < 53 else faces


def in_photo(number: int, _: Any) -> list[dict[str, Any]]:
    return [{**each, "box": {**each["box"], "y": each["box"]["y"] + 90}} for each in FACES]


def in_webcam(number: int, _: Any) -> list[dict[str, Any]]:
    share = 640 / 960  # of the camera's pixels that are sent
    boxes = [{name: value * share for name, value in each["box"].items()} for each in FACES]
    return [{**each, "box": box} for each, box in zip(FACES, boxes, strict=True)]


def show_photo(page: Any, folder: Path) -> None:
    page.get_by_label("Choose photos").set_input_files(str(write_photo(folder / "wall.png", scene((960, 720), LOWER))))
    page.locator(".panel").nth(2).wait_for()


def show_webcam(page: Any, folder: Path) -> None:
    page.get_by_role("button", name="Start the camera").click()
    page.locator(".panel").nth(2).wait_for()
    page.wait_for_timeout(3000)


def show_video(page: Any, folder: Path) -> None:
    pictures = [moving(frame) for frame in range(FRAMES)]
    page.get_by_label("Choose a video").set_input_files(str(write_video(folder / "party.webm", pictures, RATE)))
    page.get_by_label("Frames a second").select_option("5")
    page.get_by_text("is ready.").wait_for()
    page.get_by_role("button", name="Find the emotions").click()
    page.locator(".track-plot").nth(1).wait_for(timeout=60_000)
    plot = page.get_by_role("slider", name="Timeline of face 1")
    plot.click(position={"x": plot.bounding_box()["width"] * 0.53, "y": 30})
    page.wait_for_timeout(500)


def show_model(page: Any, folder: Path) -> None:
    page.get_by_text("As of").wait_for()


Show = Callable[[Any, Path], None]
SHOTS: dict[str, tuple[Show, Callable[..., Any], str]] = {
    "photo": (show_photo, in_photo, "light"),
    "webcam": (show_webcam, in_webcam, "dark"),
    "video": (show_video, in_video, "light"),
    "model": (show_model, in_photo, "light"),
}


def in_few_colors(picture: Image.Image) -> Image.Image:
    """Return a picture of 256 colours, a third of the size; thin bars keep the colours of their emotions."""
    kept = [level for position in range(-1, 7) for level in class_color(position)]
    found = picture.quantize(256 - len(kept) // 3).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*kept, *found])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def take(browser: Any, stub: Stub, tab: str, folder: Path) -> None:
    """Write docs/images/page-TAB.png."""
    show, script, scheme = SHOTS[tab]
    stub.reset()
    stub.script = script
    stub.facts["card"] = "\n".join(line for line in CARD.splitlines() if "onerror" not in line)
    page = browser.new_page(viewport={"width": 1000, "height": 640}, color_scheme=scheme)
    page.goto(f"{stub.address}/#{tab}")
    show(page, folder)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    shot = page.locator("body").screenshot()
    in_few_colors(Image.open(io.BytesIO(shot)).convert("RGB")).save(IMAGES / f"page-{tab}.png", optimize=True)
    page.close()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, running_stub() as stub, sync_playwright() as playwright:
        folder = Path(name)
        _, jpeg = cv2.imencode(".jpg", scene((960, 540), WALL))
        camera = folder / "camera.mjpeg"
        camera.write_bytes(jpeg.tobytes() * 30)
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        for tab in SHOTS:
            take(browser, stub, tab, folder)
        browser.close()


if __name__ == "__main__":
    main()
