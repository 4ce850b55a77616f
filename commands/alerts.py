"""Alerts: a command or a webhook is told how a run ended; a failure here is only a warning."""

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from threading import Thread

from commands.command_line import Command
from configs.alert_settings import AlertSettings, EventName
from configs.environment import without_login
from configs.errors import DRIFTED, HELD, REJECTED, UserError
from configs.loading import load_settings
from configs.settings import Settings

logger = logging.getLogger(__name__)

OUTCOMES: dict[int, EventName] = {HELD: "held", REJECTED: "rejected", DRIFTED: "drift"}
WITHIN_AN_ALERT = "ALERT_EVENT"  # in a command's environment: a run.py that it starts sends no alerts of its own
SECRET_NAMES = re.compile(r"TOKEN|PASSWORD|SECRET|KEY|WEBHOOK", re.IGNORECASE)
SHORTEST_SECRET = 6  # characters; a shorter value would also hide ordinary words
LONGEST_PAUSE = 60.0  # seconds between two tries


@dataclass(frozen=True)
class Event:
    """What an alert says; `lines` are the last lines of the run. Times are UTC."""

    event: EventName
    pipeline: str
    exit_code: int
    message: str
    lines: Mapping[str, str] = field(default_factory=dict)
    host: str = field(default_factory=socket.gethostname)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class DeliveryError(Exception):
    """An alert was not delivered; says why, without the address or the command."""


def without_secrets(text: str) -> str:
    """Hide the login in an address, and the values of environment variables such as …_TOKEN or …_KEY."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return without_login(text)


def without_secret_settings(settings: Settings) -> Settings:
    """Return the settings with nobody to alert and without a token, so that what runs keep of them has no secret."""
    nobody = settings.alerts.model_copy(update={"command": (), "webhook": type(settings.alerts.webhook)("")})
    nothing = settings.serving.model_copy(update={"host": "127.0.0.1", "token": type(settings.serving.token)("")})
    return settings.model_copy(update={"alerts": nobody, "serving": nothing})


def ending(pipeline: str, exit_code: int, lines: Mapping[str, str]) -> Event | None:
    """Return the event for the end of a run, or None where nobody waits for one, as of an export."""
    lines = dict(lines)
    if exit_code in OUTCOMES:
        name = OUTCOMES[exit_code]
        return Event(name, pipeline, exit_code, lines.get("drifted" if name == "drift" else name, ""), lines)
    if exit_code:
        return Event("failure", pipeline, exit_code, "; ".join(lines.values()), lines)
    if "promoted" in lines:
        return Event("promotion", pipeline, exit_code, lines["promoted"], lines)
    if pipeline == "rollback":
        return Event("rollback", pipeline, exit_code, f"{lines['champion before']} → {lines['champion now']}", lines)
    return None


def failure(command: Command, exit_code: int, message: str) -> Event:
    """Return the event of a command that failed or was stopped."""
    return Event("failure", command.subject, exit_code, message)


def announce(command: Command, event: Event | None) -> None:
    """Send an event to whoever the command's settings name; commands that run nothing have none."""
    if event is None or command.runs_nothing:
        return
    # where the settings themselves are wrong, those of the environment and YAML alone
    for overlays, given in ((command.config, command.given), ([], {})):
        with contextlib.suppress(UserError):
            send(load_settings(overlays, given).alerts, event)
            return


def send(alerts: AlertSettings, event: Event) -> None:
    """Send an event to the command and the webhook of the settings; a failure is logged, a slow one is abandoned."""
    if event.event not in alerts.events or WITHIN_AN_ALERT in os.environ:
        return
    said = asdict(event) | {
        "message": without_secrets(event.message),
        "lines": {name: without_secrets(value) for name, value in event.lines.items()},
    }
    ways: dict[str, Callable[[], None]] = {}
    if alerts.command:
        ways["alerts.command"] = lambda: _run_command(alerts, said)
    if alerts.webhook.get_secret_value():
        ways["alerts.webhook"] = lambda: _post(alerts, json.dumps(said).encode())
    for name, deliver in ways.items():
        if trouble := _try(alerts, deliver):
            logger.warning("%s did not accept the alert about the %s: %s", name, event.event, trouble)


def _try(alerts: AlertSettings, deliver: Callable[[], None]) -> str:
    """Deliver, with retries; return the last reason for a failure, or "" once it was accepted.

    The thread bounds what a time limit on each read from a socket does not: an answer that arrives byte by byte.
    """
    from urllib3.exceptions import MaxRetryError
    from urllib3.util import Retry

    reasons: list[str] = []

    def work() -> None:
        left = Retry(total=alerts.retries, backoff_factor=alerts.backoff_seconds, backoff_max=LONGEST_PAUSE)
        try:
            while True:
                try:
                    deliver()
                    break
                except DeliveryError as error:
                    left = left.increment(error=error)
                left.sleep()
            reasons.append("")
        except MaxRetryError as error:
            reasons.append(str(error.reason))

    worker = Thread(target=work, daemon=True)
    worker.start()
    pauses = sum(min(LONGEST_PAUSE, alerts.backoff_seconds * 2**number) for number in range(1, alerts.retries))
    limit = (alerts.retries + 1) * 2 * alerts.timeout_seconds + pauses  # connecting and reading have a limit each
    worker.join(limit)
    return reasons[0] if reasons else f"no end after {limit:.0f} s"


def _run_command(alerts: AlertSettings, said: Mapping[str, object]) -> None:
    """Start the command without a shell; the event is on its standard input, the gist in its environment."""
    gist = {WITHIN_AN_ALERT: "event", "ALERT_PIPELINE": "pipeline", "ALERT_EXIT_CODE": "exit_code",
            "ALERT_MESSAGE": "message"}  # fmt: skip
    try:
        done = subprocess.run(
            [os.path.expanduser(alerts.command[0]), *alerts.command[1:]],
            input=json.dumps(said).encode(),
            env={**os.environ, **{name: str(said[key]) for name, key in gist.items()}},
            stdout=subprocess.DEVNULL,
            timeout=alerts.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeliveryError(f"it took more than {alerts.timeout_seconds:g} s") from None
    except OSError as error:
        raise DeliveryError(f"it cannot be started ({error.strerror})") from None
    if done.returncode:
        raise DeliveryError(f"it ended with code {done.returncode}")


def _post(alerts: AlertSettings, body: bytes) -> None:
    """Post the event as JSON; a redirect is not followed."""
    import requests

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would name the address
    try:
        with requests.post(
            alerts.webhook.get_secret_value(),
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=alerts.timeout_seconds,
            allow_redirects=False,
            stream=True,  # nobody reads the answer
        ) as answer:
            status = answer.status_code
    except requests.Timeout:
        raise DeliveryError(f"no answer within {alerts.timeout_seconds:g} s") from None
    except (requests.RequestException, ValueError) as error:
        raise DeliveryError(type(error).__name__) from None  # its text holds the address
    if not 200 <= status < 300:
        raise DeliveryError(f"status {status}")
