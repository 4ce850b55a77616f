"""Reading notes: what a reader counts on its way, so that nothing is left out without a word."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vision.files.file_sets import describe_files

LEFT_OUT, FIRST_PICTURE = "left out", "first picture only"
PASSED_OVER = (LEFT_OUT, FIRST_PICTURE)  # what belongs into the last lines of a run as well


@dataclass
class ReadingNotes:
    """What became of the files of a data set. Readers fill it while their faces are asked for.

    `other_files` are those that are not images; `several` are images with more than one picture.
    """

    other_files: Sequence[str] = ()
    several: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, str]:
        """Return what there is to say, as text by name."""
        facts = {}
        if self.other_files:
            facts[LEFT_OUT] = describe_files(self.other_files)
        if self.several:
            facts[FIRST_PICTURE] = f"of {describe_files(self.several)}, which hold several"
        return facts
