"""Reading notes: what a reader counts on its way, so that nothing is left out or translated without a word."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from vision.data.faces import SPLITS, UNASSIGNED
from vision.data.label_codes import DROPPED, UNUSED, Labels
from vision.files.file_sets import describe_files

LEFT_OUT, FIRST_PICTURE, WITHOUT = "left out", "first picture only", "faces left out"
# what belongs into the last lines of a run as well
PASSED_OVER = (LEFT_OUT, FIRST_PICTURE, DROPPED, UNUSED, WITHOUT)
PLACES = 6


@dataclass
class ReadingNotes:
    """What became of the files of a data set. Readers fill it while their faces are asked for.

    `layout` is the data set whose layout was recognised. `other_files` are those that are not images; `several` are
    images with more than one picture. `splits` counts faces by split and where that stands, `without` those that a
    layout leaves out by reason.
    """

    labels: Labels | None = None
    layout: str = ""
    other_files: Sequence[str] = ()
    several: list[str] = field(default_factory=list)
    splits: Counter[tuple[str, str]] = field(default_factory=Counter)
    without: Counter[str] = field(default_factory=Counter)

    def facts(self) -> dict[str, str]:
        """Return what there is to say, as text by name."""
        facts = {"layout": f"of {self.layout}"} if self.layout else {}
        facts |= self.labels.facts() if self.labels else {}
        for split in (*SPLITS, UNASSIGNED):
            if places := Counter({place: n for (of, place), n in self.splits.items() if of == split}):
                shown = [f"{count:,} from {place}" for place, count in places.most_common(PLACES)]
                more = f" and {len(places) - PLACES} more places" if len(places) > PLACES else ""
                total = "" if len(places) == 1 else f"{places.total():,}: "
                facts[f"{split} faces"] = f"{total}{', '.join(shown)}{more}"
        if self.without:
            reasons = [f"{count:,} {reason}" for reason, count in self.without.most_common()]
            facts[WITHOUT] = f"{self.without.total():,} ({', '.join(reasons)})"
        if self.other_files:
            facts[LEFT_OUT] = describe_files(self.other_files)
        if self.several:
            facts[FIRST_PICTURE] = f"of {describe_files(self.several)}, which hold several"
        return facts


def merge_notes(parts: Sequence[ReadingNotes]) -> ReadingNotes:
    """Return the notes of several readings as those of one; what is still to be read is counted there as well."""
    first = parts[0].labels
    merged = ReadingNotes(first, other_files=[name for part in parts for name in part.other_files])
    merged.layout = ", ".join(sorted({part.layout for part in parts if part.layout}))
    for part in parts:
        merged.splits += part.splits
        merged.without += part.without
        part.several = merged.several
        if first and part.labels and part.labels is not first:
            first.add(part.labels)
    return merged
