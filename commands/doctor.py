"""The doctor's findings, printed."""

from commands.command_line import Command
from commands.dataset import names_dataset
from configs.errors import UserError
from configs.loading import PROJECT, load_settings
from pipelines.runner import Outcome


def run(command: Command) -> Outcome:
    """Look over the machine, which changes nothing; the exit code says whether there is something to fix."""
    settings = load_settings(command.config, command.given)
    from stack import doctor

    findings = doctor.examine(settings, PROJECT, settings.state_folder, dataset_named=names_dataset(command))
    print(doctor.render(findings))
    return Outcome({}, UserError.exit_code if any(not finding.is_ok for finding in findings) else 0)
