"""The page in a real Chromium with a fake camera, against the stub server."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.scenes import scene, write_photo
from tests.serving.page.stub import Stub, running_stub

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not on this machine (Debian's package chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def one_stub() -> Iterator[Stub]:
    with running_stub() as stub:
        yield stub


@pytest.fixture
def stub(one_stub: Stub) -> Stub:
    one_stub.reset()
    return one_stub


@dataclass
class Opened:
    """What the pages of a test asked for, and what their consoles said."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def open_page(browser: Any, stub: Stub, opened: Opened) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the page at a tab; a script's error or a policy's refusal fails the test."""
    contexts = []

    def open_it(tab: str = "photo", width: int = 1100, address: str = "", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, accept_downloads=True, **options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.on("request", lambda request: opened.requests.append(request.url))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("console", lambda message: note(message, opened))
        page.goto(f"{address or stub.address}/#{tab}")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not opened.complaints


def note(message: Any, opened: Opened) -> None:
    answered = message.text.startswith("Failed to load resource")  # a problem that the page shows as its sentence
    if message.type == "error" and not answered:
        opened.complaints.append(message.text)


@pytest.fixture(scope="session")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    picture = scene((640, 400), [("happy", 1, 80, 100), ("sad", 2, 380, 120)])
    return write_photo(tmp_path_factory.mktemp("photo") / "wall.png", picture)
