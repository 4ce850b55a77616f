from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from configs.errors import UserError
from stack.servers import check_server

UNUSED = "http://localhost:9"  # the port of "discard", on which nobody listens


class Refusing(BaseHTTPRequestHandler):
    """Answers as a proxy that reaches no server."""

    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Refusing) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_a_proxy_before_a_local_server_is_named_with_the_way_around_it(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{proxy}")

    with pytest.raises(UserError, match=rf"status 503.*proxy http://{proxy}: set NO_PROXY=localhost$") as raised:
        check_server(UNUSED)

    assert "secret" not in str(raised.value)


def test_a_proxy_that_does_not_answer_is_named_too(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", UNUSED)

    with pytest.raises(UserError, match=r"no server answers \(ProxyError\); .*set NO_PROXY=127\.0\.0\.1"):
        check_server(f"http://{proxy}")


def test_without_a_proxy_any_answer_is_one(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", UNUSED)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    check_server(f"http://{proxy}")
