"""What a person does on the page, for the tests."""

import time
from pathlib import Path
from typing import Any


def until(page: Any, condition: str, seconds: float = 20) -> None:
    """Wait until an expression holds; Playwright's own wait evaluates text, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {seconds:g} s: {condition}"
        page.wait_for_timeout(30)


def give(page: Any, *photos: Path) -> str:
    """Choose photos and return the status line once all are answered."""
    page.get_by_label("Choose photos").set_input_files([str(path) for path in photos])
    status = page.locator("#photo-status")
    until(page, "!/…|No photo yet/.test(document.getElementById('photo-status').textContent)")
    return str(status.inner_text())


def kept(page: Any, button: str) -> str:
    """Download by a button and return the text of the file."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_text(encoding="utf-8")
