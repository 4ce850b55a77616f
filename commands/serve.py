"""Serving: the model is found, the address taken, and requests are answered until the process is told to end."""

import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from commands import alerts
from commands.command_line import Command
from configs.alert_settings import AlertSettings
from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import Settings
from pipelines.runner import Outcome

if TYPE_CHECKING:  # what serves takes a second to import
    from serving.model_sources import RegisteredModels
    from serving.served_model import ServedModel

logger = logging.getLogger(__name__)

SOURCES = {"registry": "the registry", "bundle": "serving.bundle", "released": "released/"}


def run(command: Command) -> Outcome:
    """Serve until SIGTERM or Ctrl-C; the exit code is 0 once everything under way was answered."""
    settings = load_settings(command.config, command.given)
    from serving.app import build_app
    from serving.model_sources import RegisteredModels
    from serving.server import open_socket, run_server
    from serving.service import Service
    from stack.champion_lookup import open_lookup

    _show_own_messages()
    models = RegisteredModels(open_lookup(_tracking_uri(settings.state_folder)), settings)
    with open_socket(settings.serving) as listening:
        first = _first_model(models, settings)
        service = Service(settings, first, models, partial(_alert, settings.alerts))
        port = listening.getsockname()[1]
        said = f"http://{_shown_host(settings.serving.host)}:{port} answers with {first.name} version {first.version}"
        print(f"{said} from {SOURCES[first.source]}", flush=True)
        try:
            run_server(build_app(service), listening, settings.serving, lambda: print("ready", flush=True))
        except KeyboardInterrupt:  # uvicorn repeats the signal once it has drained
            print("stopped; every request under way was answered", flush=True)
    return Outcome({})


def _first_model(models: "RegisteredModels", settings: Settings) -> "ServedModel":
    """Return the champion or, where there is none yet, the bundle of the settings, or the newest released one."""
    from serving.model_follower import CHAMPION
    from serving.model_sources import load_bundle
    from serving.served_model import RELEASED as FROM_RELEASES
    from serving.served_model import UnusableModelError
    from stack.champion_lookup import LookupFailedError
    from vision.lifecycle.releases import newest_release

    bundle, released = settings.serving.bundle, newest_release()
    try:
        number = models.number_of(CHAMPION)
        if number is not None:
            return models.load(number)
        trouble = f"{models.name} has no champion in {models.lookup.shown}"
    except (LookupFailedError, UnusableModelError) as error:
        if bundle is None and released is None:
            raise
        trouble = str(error)
    if bundle is not None:
        logger.warning("%s; serving.bundle %s answers until that changes", trouble, bundle)
        return load_bundle(bundle, "serving.bundle", settings)
    if released is not None:
        logger.warning("%s; the released model %s answers until that changes", trouble, released.name)
        return load_bundle(released, "the released model", settings, FROM_RELEASES)
    raise UserError(
        f"{trouble}, and released/ has no model; train one with --pipeline training, bring one with --pipeline import, "
        "or name a bundle of --pipeline export with --serving.bundle"
    )


def _tracking_uri(state: Path) -> str:
    """Return the store of the champion. Raises UserError where only a ZenML of the user's own knows it."""
    from stack.local_stack import tracking_uri
    from stack.users_zenml import asking, wants_users_zenml

    if wants_users_zenml(state) and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            f"{asking()} asks for a ZenML of yours, which --serve does not open; set MLFLOW_TRACKING_URI to the MLflow "
            "store of its stack"
        )
    return tracking_uri(state)


def _alert(settings: AlertSettings, message: str) -> None:
    alerts.send(settings, alerts.Event("failure", "serving", UserError.exit_code, message))


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _show_own_messages() -> None:
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for package in ("serving", "stack", "commands", "vision"):
        logging.getLogger(package).setLevel(logging.INFO)
