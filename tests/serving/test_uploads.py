import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.serving.conftest import Running, encoded, settings_with

URL = "/v1/emotions"


@pytest.mark.parametrize("named", ["/etc/passwd", "file:///etc/passwd", "http://localhost/picture.jpg"])
def test_a_path_or_an_address_is_not_opened(running: Running, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("socket.create_connection", lambda *given, **more: opened.append(given))

    answers = [
        running.client.post(URL, content=named),
        running.client.post(URL, json={"image": named}),
        running.client.post(URL, data={"image": named}),
    ]

    assert [answer.status_code for answer in answers] == [415, 422, 415]
    assert opened == []


def test_no_picture_is_written_to_the_disk(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    large = encoded(Image.effect_noise((1600, 1200), 100))  # Starlette writes parts of more than a megabyte to the disk
    assert len(large) > 1_500_000

    assert running.client.post(URL, files={"image": ("large.png", large)}).status_code == 200


def test_bodies_under_way_are_bounded_together(serve: Callable[..., Running]) -> None:
    running = serve(max_waiting_bytes=4000)

    answer = running.client.post(URL, content=b"x" * 5000)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert running.service.limits.bytes == 0
    assert settings_with().serving.max_waiting_bytes > settings_with().serving.max_body_bytes
