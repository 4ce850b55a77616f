"""Bare training: by the settings, without a pipeline, ZenML and MLflow."""

import logging
import os
from pathlib import Path

from commands.alerts import without_secret_settings
from commands.command_line import Command
from commands.console import print_lines, quiet
from commands.dataset import load_with_dataset
from configs.settings import Settings
from pipelines.runner import Outcome


def run(command: Command, folder: Path) -> Outcome:
    """Train, and write the classifier and its scores to `folder`."""
    from stack.error_messages import explained

    with explained({"bare": folder}):
        settings = without_secret_settings(load_with_dataset(command, falls_back_to_demo=False).settings)
        return train(folder, settings, command.debug)


def train(folder: Path, settings: Settings, debug: bool) -> Outcome:
    """Train; print where the classifier is and its scores."""
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, format="%(message)s")
    logging.getLogger("vision").setLevel(logging.INFO)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    with quiet(not debug):
        from vision.standalone import train_recipe
    lines = train_recipe(settings, folder)
    print_lines(lines)
    return Outcome(lines)
