"""Relocation: a copied or moved state folder is told where it is."""

from commands.command_line import Command
from commands.console import print_lines
from configs.loading import load_settings
from pipelines.runner import Outcome


def run(command: Command) -> Outcome:
    """Have the stores in the state folder name the place where it is now; what lies elsewhere is not touched."""
    state = load_settings(command.config, command.given).state_folder
    from stack.disk_space import state_at_rest
    from stack.local_stack import check_writable
    from stack.relocation import former_place, relocate

    if not state.is_dir() or (old := former_place(state)) is None:
        print(f"{state} is where its stores say, so there is nothing to relocate")
        return Outcome({})
    check_writable("state_folder", state)
    with state_at_rest(state):
        backups = relocate(state, old)
    kept = {"kept as it was": ", ".join(str(path) for path in backups)} if backups else {}
    print_lines({"relocated": f"{old} → {state}", **kept})
    return Outcome({})
