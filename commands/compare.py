"""The comparison of runs, printed."""

from commands.command_line import Command
from commands.console import quiet
from configs.loading import load_settings
from pipelines.runner import Outcome


def run(command: Command) -> Outcome:
    """Print champion, challenger and the last runs in the command's format; changes nothing."""
    settings = load_settings(command.config, command.given)
    with quiet(not command.debug):
        from commands.comparison import compare_runs
        from commands.comparison_formats import render
        from stack.inherited import check_registry
        from stack.local_stack import find_tracking_uri

    uri = find_tracking_uri(settings.state_folder)
    check_registry(uri)
    print(render(compare_runs(settings, uri), command.format))
    return Outcome({})
