"""Reproduction: a training is repeated by the settings of a former run."""

from functools import partial

from commands.alerts import without_secret_settings
from commands.command_line import Command
from commands.console import quiet
from commands.dataset import find_files
from commands.run_pipeline import Job, run_on_stack
from configs.errors import UserError
from configs.loading import load_settings
from pipelines.runner import Outcome


def run(command: Command, run_id: str) -> Outcome:
    """Train by the settings of a former run; only the command line is stronger than they are."""
    if command.config:
        raise UserError("--reproduce takes the settings from the run; change single ones by --section.field")
    here = load_settings([], command.given)
    with quiet(not command.debug):
        from commands import reproduction
        from stack.local_stack import find_tracking_uri
        from stack.relocation import check_place

    check_place(here.state_folder)
    uri = find_tracking_uri(here.state_folder)
    former = reproduction.recall(run_id, here.tracking.experiment_name, uri)
    settings = without_secret_settings(find_files(reproduction.rebuild(former, command.given)))
    job = Job("reproduction", lambda: partial(reproduction.train_again, former), {reproduction.REPRODUCES: run_id})
    return run_on_stack(job, settings, command.debug)
