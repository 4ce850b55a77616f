import socket
from collections.abc import Callable
from typing import Any

import pytest

from configs.errors import UserError
from configs.loading import load_settings
from serving.examples import PIXEL
from serving.server import open_socket
from tests.serving.conftest import Running, settings_with

TOKEN = "a-token-of-these-tests"  # of nobody
URL = "/v1/emotions"


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.4"])
def test_localhost_and_bare_addresses_are_answered(running: Running, host: str) -> None:
    assert running.client.get("/v1/model", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "[", ""])
def test_a_name_that_may_be_rebound_is_refused(running: Running, host: str) -> None:
    answer = running.client.get("/v1/model", headers={"host": host})

    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")


def test_a_name_that_the_settings_allow_is_answered(serve: Callable[..., Running]) -> None:
    running = serve(allowed_hosts=["faces.example"])

    assert running.client.get("/v1/model", headers={"host": "Faces.Example:80"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://[::1"])
def test_pages_of_other_sites_are_refused_and_get_no_cors_headers(running: Running, origin: str) -> None:
    answer = running.client.get("/v1/model", headers={"origin": origin})

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_the_service_s_own_page_may_ask(running: Running) -> None:
    assert running.client.get("/v1/model", headers={"origin": "http://localhost"}).status_code == 200


def test_an_origin_that_the_settings_name_may_ask(serve: Callable[..., Running]) -> None:
    running = serve(allowed_origins=["https://friend.example"], token=TOKEN)
    origin = {"origin": "https://friend.example"}

    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    preflight = running.client.options(URL, headers=asked)
    answer = running.client.get("/v1/model", headers={**origin, "authorization": f"Bearer {TOKEN}"})

    assert preflight.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://friend.example"


WRONG = ["", f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", "Bearer ü"]


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/v2", "/openapi.json"])
def test_without_the_token_nothing_is_said(serve: Callable[..., Running], given: str, path: str) -> None:
    headers = {"authorization": given.encode()} if given else {}

    answer = serve(token=TOKEN).client.get(path, headers=headers)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert TOKEN not in answer.text


def test_the_token_opens_and_the_page_and_the_probes_need_none(serve: Callable[..., Running]) -> None:
    client = serve(token=TOKEN).client

    assert client.post(URL, json={"image": PIXEL}, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert [client.get(path).status_code for path in ("/", "/page/index.html", "/v2/health/live")] == [200, 200, 200]


def test_every_answer_has_a_content_policy_that_loads_nothing_from_elsewhere(running: Running) -> None:
    for path in ("/", "/v1/model", "/nothing", "/page/../app.py"):
        policy = running.client.get(path).headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "://" not in policy
        assert not {"*", "'unsafe-inline'", "'unsafe-eval'"} & set(policy.split())


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/..%2fapp.py"])
def test_nothing_beside_the_page_s_files_is_given_out(running: Running, path: str) -> None:
    assert running.client.get(path).status_code in (404, 405)


def test_another_address_needs_a_token() -> None:
    with pytest.raises(UserError, match=r"serving.host 0\.0\.0\.0 .* FACE_EMOTION__SERVING__TOKEN"):
        load_settings([], {"serving": {"host": "0.0.0.0"}})
    assert load_settings([], {"serving": {"host": "0.0.0.0", "token": TOKEN}}).serving.host == "0.0.0.0"


def test_a_token_that_is_too_short_is_refused_and_not_shown() -> None:
    with pytest.raises(UserError, match=r"serving\.token = ….*at least 16") as raised:
        load_settings([], {"serving": {"token": "short-one"}})

    assert "short-one" not in str(raised.value)


def test_a_wrong_setting_does_not_show_the_token() -> None:
    with pytest.raises(UserError) as raised:
        load_settings([], {"serving": {"host": "0.0.0.0", "token": TOKEN, "port": 0}})

    assert TOKEN not in str(raised.value)


def test_a_port_in_use_is_named_with_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(UserError, match=rf"port {port} .*--serving\.port"):
            open_socket(settings_with(port=port).serving)


def test_by_default_the_service_listens_on_loopback() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with open_socket(settings_with(port=port).serving) as listening:
        assert listening.getsockname() == ("127.0.0.1", port)


def test_an_address_of_another_machine_is_named() -> None:
    settings: Any = settings_with(host="203.0.113.7", token=TOKEN).serving

    with pytest.raises(UserError, match=r"203\.0\.113\.7"):
        open_socket(settings)
