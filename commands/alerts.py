"""Alerts: a command or a webhook hears how a run ended; whatever fails here is a warning and changes nothing else."""

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

from configs.environment import without_login
from configs.errors import DRIFTED, HELD, REJECTED
from configs.settings import AlertSettings, EventName, Settings

logger = logging.getLogger(__name__)

OUTCOMES: dict[int, EventName] = {HELD: "held", REJECTED: "rejected", DRIFTED: "drift"}
WITHIN_AN_ALERT = "ALERT_EVENT"  # in a command's environment: a run.py that it starts sends no alerts of its own
SECRET_NAMES = re.compile(r"TOKEN|PASSWORD|SECRET|KEY|WEBHOOK", re.IGNORECASE)
SHORTEST_SECRET = 6  # characters; a shorter value would blot out ordinary words
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
    """Nobody took the alert; says why, without the address or the command."""


def without_secrets(text: str) -> str:
    """Blot out the login of an address, and what the environment keeps under a name such as …_TOKEN or …_KEY."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return without_login(text)


def without_alerts(settings: Settings) -> Settings:
    """Return the settings with nobody to alert: what runs keep of them holds no webhook and no command."""
    nobody = settings.alerts.model_copy(update={"command": (), "webhook": type(settings.alerts.webhook)("")})
    return settings.model_copy(update={"alerts": nobody})


def ending(pipeline: str, exit_code: int, lines: Mapping[str, str]) -> Event | None:
    """Return the event that a run's end is, or None where nobody waits for one (inference, export, nothing to do)."""
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


def send(alerts: AlertSettings, event: Event) -> None:
    """Give an event to whoever the settings name; a failure is logged, and what takes too long is left behind."""
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
            logger.warning("%s did not take the alert of the %s: %s", name, event.event, trouble)


def _try(alerts: AlertSettings, deliver: Callable[[], None]) -> str:
    """Deliver, and again where that fails; return the last reason, or "" once it was taken.

    The thread bounds what a time limit on each reading from a socket does not: an answer that drips.
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
            alerts.command,
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
