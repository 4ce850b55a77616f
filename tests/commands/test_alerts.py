"""Alerts reach a real server on loopback and a real program, or end as a warning."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import run
from commands import alerts
from configs.alert_settings import AlertSettings
from configs.errors import UserError
from configs.loading import load_settings
from pipelines.runner import Outcome

HELD = alerts.Event("held", "training", 3, "held: no gain")
FAILURE = alerts.Event("failure", "training", 2, "dataset.path nowhere does not exist")


@dataclass
class Receiver:
    """A web server that answers with these statuses, one a request, after a pause in seconds."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    pause: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status = kept.statuses[min(len(kept.bodies), len(kept.statuses)) - 1]
            kept.over.wait(kept.pause)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{kept.url}/elsewhere")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kept.url = f"http://127.0.0.1:{server.server_port}"
        yield kept
        kept.over.set()
        server.shutdown()


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AlertSettings]:
    """Return a function that gives the YAML's alert settings, quick and with what is changed."""
    monkeypatch.delenv(alerts.WITHIN_AN_ALERT, raising=False)
    usual = load_settings([], {}).alerts.model_copy(update={"timeout_seconds": 5.0, "backoff_seconds": 0.01})

    def change(**changes: Any) -> AlertSettings:
        return usual.model_copy(update=changes)

    return change


def test_a_webhook_gets_the_event_as_json(receiver: Receiver, wanted: Callable[..., AlertSettings]) -> None:
    alerts.send(wanted(webhook=SecretStr(receiver.url)), FAILURE)

    (body,) = receiver.bodies
    assert set(body) == {"event", "pipeline", "exit_code", "message", "lines", "host", "at"}
    assert (body["event"], body["exit_code"], body["message"]) == ("failure", 2, FAILURE.message)


def test_a_webhook_that_fails_twice_is_tried_again(
    receiver: Receiver, wanted: Callable[..., AlertSettings], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500, 500, 200]

    alerts.send(wanted(webhook=SecretStr(receiver.url)), FAILURE)

    assert len(receiver.bodies) == 3
    assert not caplog.records


def test_a_webhook_that_keeps_failing_is_a_warning_without_its_address(
    receiver: Receiver, wanted: Callable[..., AlertSettings], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500]
    caplog.set_level(logging.DEBUG)

    alerts.send(wanted(webhook=SecretStr(f"{receiver.url}/hush?key=hush"), retries=2), FAILURE)

    assert len(receiver.bodies) == 3
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "alerts.webhook did not accept the alert about the failure: status 500"
    ]
    assert "hush" not in caplog.text


def test_a_webhook_that_does_not_answer_is_left_behind(
    receiver: Receiver, wanted: Callable[..., AlertSettings], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.pause = 60
    started = time.monotonic()

    alerts.send(wanted(webhook=SecretStr(receiver.url), timeout_seconds=0.3, retries=1), FAILURE)

    assert time.monotonic() - started < 10
    assert "no answer within 0.3 s" in caplog.text


def test_a_server_that_is_not_there_is_a_warning_without_its_address(
    wanted: Callable[..., AlertSettings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    alerts.send(wanted(webhook=SecretStr("http://me:hush@127.0.0.1:9/hush"), retries=1), FAILURE)

    assert "alerts.webhook did not accept the alert about the failure: ConnectionError" in caplog.text
    assert "hush" not in caplog.text


def test_a_redirect_is_not_followed(receiver: Receiver, wanted: Callable[..., AlertSettings]) -> None:
    receiver.statuses = [302]

    alerts.send(wanted(webhook=SecretStr(receiver.url), retries=0), FAILURE)

    assert len(receiver.bodies) == 1


def program(folder: Path, code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, str(folder / "heard.json"))


HEAR = (
    "import json, os, sys; said = json.load(sys.stdin); "
    "said |= {name: os.environ[name] for name in os.environ if name.startswith('ALERT_')}; "
    "json.dump(said, open(sys.argv[1], 'w'))"
)


def test_a_command_gets_the_event_on_standard_input_and_in_its_environment(
    tmp_path: Path, wanted: Callable[..., AlertSettings]
) -> None:
    alerts.send(wanted(command=program(tmp_path, HEAR), timeout_seconds=60.0), FAILURE)

    heard = json.loads((tmp_path / "heard.json").read_text())
    assert heard["message"] == heard["ALERT_MESSAGE"] == FAILURE.message
    assert (heard["ALERT_EVENT"], heard["ALERT_PIPELINE"], heard["ALERT_EXIT_CODE"]) == ("failure", "training", "2")


def test_a_command_sees_no_shell(tmp_path: Path, wanted: Callable[..., AlertSettings]) -> None:
    alerts.send(wanted(command=("touch", f"{tmp_path}/a; touch {tmp_path}/b")), FAILURE)

    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("false",), "it ended with code 1"),
        (("no-such-program",), "it cannot be started (No such file or directory)"),
        (("sleep", "60"), "it took more than 0.3 s"),
        (("sh", "-c", "sleep 60 & sleep 60"), "it took more than 0.3 s"),
    ],
)
def test_a_command_that_fails_or_hangs_is_a_warning(
    command: tuple[str, ...], reason: str, wanted: Callable[..., AlertSettings], caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()

    alerts.send(wanted(command=command, timeout_seconds=0.3, retries=0), FAILURE)

    assert f"alerts.command did not accept the alert about the failure: {reason}" in caplog.text
    assert time.monotonic() - started < 10


def test_an_event_that_nobody_waits_for_is_not_sent(receiver: Receiver, wanted: Callable[..., AlertSettings]) -> None:
    alerts.send(wanted(webhook=SecretStr(receiver.url)), HELD)

    assert receiver.bodies == []


def test_a_run_that_an_alert_started_sends_none(
    receiver: Receiver, wanted: Callable[..., AlertSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.WITHIN_AN_ALERT, "failure")

    alerts.send(wanted(webhook=SecretStr(receiver.url)), FAILURE)

    assert receiver.bodies == []


def test_secrets_of_the_environment_and_logins_are_blotted_out(
    receiver: Receiver, wanted: Callable[..., AlertSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush-token")
    message = "http://me:hush-word@127.0.0.1/x refused the token hush-token"

    alerts.send(wanted(webhook=SecretStr(receiver.url)), alerts.Event("failure", "training", 1, message))

    assert receiver.bodies[0]["message"] == "http://127.0.0.1/x refused the token ***"


@pytest.mark.parametrize(
    ("pipeline", "code", "lines", "event"),
    [
        ("training", 0, {"promoted": "macro_f1 +0.1"}, ("promotion", "macro_f1 +0.1")),
        ("retraining", 0, {"nothing to do": "the same"}, None),
        ("inference", 0, {"faces": "3"}, None),
        ("training", 3, {"held": "no gain"}, ("held", "no gain")),
        ("training", 4, {"rejected": "accuracy 0.1 is below 0.5"}, ("rejected", "accuracy 0.1 is below 0.5")),
        ("monitoring", 6, {"drifted": "brightness"}, ("drift", "brightness")),
        ("rollback", 0, {"champion before": "version 2", "champion now": "version 1"},
         ("rollback", "version 2 → version 1")),
    ],
)  # fmt: skip
def test_the_way_a_run_ends_is_its_event(
    pipeline: str, code: int, lines: dict[str, str], event: tuple[str, str] | None
) -> None:
    found = alerts.ending(pipeline, code, lines)

    assert (found and (found.event, found.message)) == event


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (UserError("seed is wrong"), 2, "seed is wrong"),
        (KeyboardInterrupt(), 130, "stopped"),
        (None, 6, "brightness"),
    ],
)
def test_the_command_line_alerts_and_keeps_its_exit_code(
    raised: BaseException | None, code: int, message: str, receiver: Receiver, wanted: Callable[..., AlertSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def dispatch(*arguments: object) -> Outcome:
        if raised:
            raise raised
        return Outcome({"drifted": "brightness"}, 6)

    monkeypatch.setattr("commands.main.dispatch", dispatch)
    monkeypatch.setenv("FACE_EMOTION__ALERTS__WEBHOOK", receiver.url)
    receiver.statuses = [404]  # the hook does not even want it

    given = run.main(["--pipeline", "monitoring", "--alerts.retries", "0"])

    assert given == code
    assert [(body["message"], body["exit_code"]) for body in receiver.bodies] == [(message, code)]


def test_an_unexpected_error_is_alerted_and_still_raised(
    receiver: Receiver, wanted: Callable[..., AlertSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dispatch(*arguments: object) -> Outcome:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("commands.main.dispatch", dispatch)
    monkeypatch.setenv("FACE_EMOTION__ALERTS__WEBHOOK", receiver.url)

    with pytest.raises(ZeroDivisionError):
        run.main(["--pipeline", "training"])

    assert (receiver.bodies[0]["message"], receiver.bodies[0]["exit_code"]) == ("ZeroDivisionError: by nothing", 1)


def test_wrong_settings_are_alerted_by_the_webhook_of_the_environment(
    receiver: Receiver, wanted: Callable[..., AlertSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACE_EMOTION__ALERTS__WEBHOOK", receiver.url)

    assert run.main(["--pipeline", "training", "--seed", "-1"]) == 2
    assert "seed = '-1'" in receiver.bodies[0]["message"]


def test_a_wrong_webhook_is_named_but_not_shown() -> None:
    with pytest.raises(UserError, match=r"alerts\.webhook") as caught:
        load_settings([], {"alerts": {"webhook": "ftp://hush"}})

    assert "hush" not in str(caught.value)


def test_what_runs_keep_of_the_settings_holds_neither_webhook_nor_command() -> None:
    settings = load_settings([], {"alerts": {"webhook": "https://host/hush", "command": ["tell", "hush"]}})

    kept = alerts.without_secret_settings(settings)

    assert "hush" not in repr(kept) + json.dumps(kept.model_dump(mode="json"))
    assert settings.alerts.webhook.get_secret_value() == "https://host/hush"
