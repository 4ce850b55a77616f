"""The page for everybody: keyboard, roles and names, narrow and dark screens, and nothing asked of other servers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.page.stub import CLASSES, Stub, face
from tests.serving.page.visit import give

pytestmark = pytest.mark.serving
Open = Callable[..., Any]
TABS = ["Photo", "Webcam", "Video", "Model"]


def test_tabs_have_their_roles_and_are_moved_by_the_arrow_keys(open_page: Open) -> None:
    page = open_page()
    assert page.get_by_role("tablist").get_by_role("tab").all_inner_texts() == TABS
    page.get_by_role("tab", name="Photo").focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        (panel,) = page.get_by_role("tabpanel").all()
        seen.append((page.evaluate("document.activeElement.textContent"), panel.get_attribute("id")))

    order = ["Webcam", "Video", "Model", "Photo", "Model", "Photo"]
    assert seen == [(name, name.lower()) for name in order]


def test_the_tab_key_reaches_every_control_of_the_photo_tab_and_focus_is_seen(
    open_page: Open,
    stub: Stub,
    wall: Path,
) -> None:
    stub.script = lambda number, asked: [face(50, 50, 100, "happy")]
    page = open_page()
    give(page, wall)
    page.locator(".skip").focus()
    reached = []
    for _ in range(8):
        element = page.evaluate_handle("document.activeElement")
        reached.append(element.evaluate("e => e.id || e.className"))
        assert element.evaluate("e => getComputedStyle(e.closest('.drop') ?? e).outlineStyle") == "solid"
        page.keyboard.press("Tab")

    named = ["skip", "tab-photo", "photo-files", "photo-bars", "photo-clear", "photo-csv", "photo-json", "scroll"]
    assert reached == named


def test_results_stand_in_live_regions(open_page: Open, wall: Path) -> None:
    page = open_page()
    give(page, wall)

    assert page.get_by_role("status").all_inner_texts() == ["No face found."]


def test_the_address_names_the_tab(open_page: Open) -> None:
    page = open_page("model")

    assert page.get_by_role("tab", name="Model").get_attribute("aria-selected") == "true"
    page.get_by_role("tab", name="Video").click()
    assert urlsplit(page.url).fragment == "video"


@pytest.mark.parametrize("tab", [name.lower() for name in TABS])
def test_nothing_is_wider_than_a_screen_of_360_pixels(
    open_page: Open,
    stub: Stub,
    wall: Path,
    tab: str,
) -> None:
    stub.script = lambda number, asked: [face(5, 5, 100, "surprise"), face(500, 200, 130, "sad", 0.3)]
    page = open_page(tab, width=360)
    if tab == "photo":
        give(page, wall)
    if tab == "webcam":
        page.get_by_role("button", name="Start the camera").click()
        page.locator(".frame").first.wait_for()
    if tab == "model":
        page.get_by_text("As of").wait_for()

    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_the_light_and_in_the_dark(open_page: Open, stub: Stub, wall: Path, scheme: str) -> None:
    stub.script = lambda number, asked: [face(30 + 80 * n, 150, 60, name, 0.5) for n, name in enumerate(CLASSES)]
    page = open_page(color_scheme=scheme)
    give(page, wall)
    lowest = []
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        lowest.append(page.evaluate(CONTRAST))

    assert min(each["ratio"] for each in lowest) >= 4.5, lowest
    lightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert (page.evaluate(lightness) < 50) == (scheme == "dark")


# the lowest contrast of WCAG 2 between a visible text and what is painted behind it
CONTRAST = """() => {
    const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const color = (text) => text.match(/[\\d.]+/g).map(Number);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const c = color(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] === 1) return c;
        }
        return [255, 255, 255];
    };
    let worst = {ratio: 21, text: ''};
    for (const e of document.querySelectorAll('body *')) {
        const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
        if (!text || !e.checkVisibility() || e.closest(':disabled, .skip')) continue;
        const [a, b] = [light(color(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < worst.ratio) worst = {ratio, text};
    }
    return worst;
}"""


def test_nothing_moves_for_those_who_ask_for_less_motion(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")

    moving = "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0


def test_the_law_stands_on_every_tab(open_page: Open) -> None:
    page = open_page()
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        assert page.get_by_text("Article 5(1)(f)").is_visible()
        assert page.get_by_text("Article 50(3)").is_visible()


def test_the_page_asks_only_its_own_server(open_page: Open, stub: Stub, opened: Any, wall: Path) -> None:
    page = open_page()
    give(page, wall)
    for name in TABS:
        page.get_by_role("tab", name=name).click()

    asked = {f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" for url in opened.requests if url[:5] != "blob:"}
    assert asked == {stub.address}
