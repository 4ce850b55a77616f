"""The data set of a command: found before anything runs, or the demo's drawn faces."""

from dataclasses import dataclass

from commands.command_line import Command
from configs.loading import DEMO, load_settings, read_given
from configs.settings import Settings


@dataclass(frozen=True)
class Loaded:
    """The settings of a command with the data set found; `notice` says whether that is the demo's, or is empty."""

    settings: Settings
    notice: str = ""

    def announce(self) -> None:
        """Print the notice, once nothing is left that could refuse the run."""
        if self.notice:
            print("=" * len(self.notice), self.notice, "=" * len(self.notice), sep="\n", flush=True)


def load_with_dataset(command: Command, falls_back_to_demo: bool) -> Loaded:
    """Return the settings with the data set found.

    They are those of the demo where nobody names a data set and the folder for one is empty but for its README: the
    demo is for a first look. Raises UserError for whatever else cannot be read.
    """
    settings = load_settings(command.config, command.given)
    from vision.data.sources import find_dataset

    dataset = settings.dataset
    chosen = dataset.reader != "auto" or names_dataset(command)
    if falls_back_to_demo and not chosen and not find_dataset(dataset.local_path, dataset.splits):
        settings = load_settings([DEMO, *command.config], command.given)
        notice = f"DEMO: {dataset.path} holds no data set, so faces are DRAWN. Name one with --dataset.path PATH"
        return Loaded(find_files(settings), notice)
    return Loaded(find_files(settings))


def names_dataset(command: Command) -> bool:
    """Say whether the command line, the environment or a --config file names a data set."""
    return "path" in read_given(command.config, command.given).get("dataset", {})


def find_files(settings: Settings) -> Settings:
    """Return the settings with the data set found.

    Raises UserError where it or the weights are missing, or where the file of changed labels cannot be used.
    """
    from vision.data.readers import locate_dataset
    from vision.data.relabelling import check_verdicts
    from vision.model.weight_files import check_content

    check_content(settings.classifier.weights)
    check_verdicts(settings)
    return settings.model_copy(update={"dataset": locate_dataset(settings.dataset)})
