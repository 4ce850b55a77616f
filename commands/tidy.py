"""Tidying: what of the state folder can go is shown, and deleted if that was asked for."""

from commands.command_line import Command
from commands.console import print_lines, quiet
from configs.loading import load_settings
from pipelines.runner import Outcome

MEGABYTE = 1e6


def run(command: Command) -> Outcome:
    """Show how much space can be freed in the state folder; with --yes free it."""
    state = load_settings(command.config, command.given).state_folder
    if not state.is_dir():
        print(f"{state} does not exist, so there is nothing to tidy")
        return Outcome({})
    from stack.disk_space import check_is_state, find_spare, free, state_at_rest
    from stack.local_stack import choose_zenml
    from stack.relocation import check_place

    check_is_state(state)
    check_place(state)  # ZenML would look into the original, and call all artifacts here unused
    with state_at_rest(state):
        choose_zenml(state)
        with quiet(not command.debug):
            spare = find_spare(state)
        sizes = {found.what: f"{found.size / MEGABYTE:>8,.1f} MB  {found.afterwards}" for found in spare}
        total = sum(found.size for found in spare) / MEGABYTE
        if not command.yes:
            print_lines({**sizes, "nothing was deleted": f"add --yes to free {total:,.1f} MB in {state}"})
            return Outcome({})
        freed = free(state, spare) / MEGABYTE
        print_lines({**sizes, "freed": f"{freed:,.1f} MB of {total:,.1f} MB in {state}"})
    return Outcome({})
