"""Relabelling: what a person or an audit says of labels, read from a CSV file and applied to training faces."""

import csv
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TRAIN
from vision.reporting.cells import text_of_cell

logger = logging.getLogger(__name__)

SETTING = "preprocessing.relabel"
FILE, ACTION, LABEL, DOUBTFUL, GIVEN = "file", "action", "label", "doubtful", "given"
NEEDED = (FILE, ACTION, LABEL)
KEEP, CHANGE, DROP = ACTIONS = ("keep", "change", "drop")
YES, NO = "yes", "no"
MAX_BYTES = 200_000_000  # a row for each of a million faces
SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Verdict:
    """What to do with a face, and whether its label is doubtful. `given` is the label it was said of, or "" for any."""

    action: str
    label: str
    doubtful: bool
    given: str


@dataclass(frozen=True)
class Relabelling:
    """What a CSV file did: training faces with another label, without doubt about them and so on.

    `held_out` are validation and test faces, which stay as they are; `missing` are rows whose file is not a face of the
    data set that can be used; `outdated` are faces whose label is not the one that the file says was given.
    """

    file: str
    changed: int
    dropped: int
    doubtful: int
    held_out: int
    missing: int
    outdated: int
    changes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        said = f"{self.changed:,} labels changed, {self.dropped:,} faces dropped, {self.doubtful:,} doubtful"
        others = {
            "validation or test faces left as they are": self.held_out,
            "rows name a file that the data set does not have": self.missing,
            "faces have another label than the file says": self.outdated,
        }
        return ", ".join([said, *(f"{count:,} {what}" for what, count in others.items() if count)])

    @property
    def each_change(self) -> str:
        """Which labels became which, and how often."""
        return ", ".join(f"{change} {count:,}" for change, count in self.changes.items())

    @property
    def left_alone(self) -> int:
        return self.held_out + self.missing + self.outdated


def read_verdicts(path: Path, class_names: Sequence[str]) -> dict[str, Verdict]:
    """Read verdicts by the name of the file that a face came from.

    The columns file, action and label are needed; doubtful (yes or no) and given may be there, others are not looked
    at. Raises UserError, which names file, line and value, for anything else.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{SETTING} {path} has more than {MAX_BYTES:,} bytes; a row a face takes a few hundred")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_rows(csv.reader(file, strict=True), f"{SETTING} {path}", set(class_names))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{SETTING} {path} cannot be read as a CSV file in UTF-8: {error}") from error


def check_verdicts(settings: Settings) -> None:
    """Raise UserError where `preprocessing.relabel` names a file that cannot be used for these classes.

    Warns where it would change nothing.
    """
    path = settings.preprocessing.relabel
    if not path:
        return
    verdicts = read_verdicts(path, settings.dataset.class_names).values()
    if settings.training.doubtful_weight == 1.0 and all(verdict.action == KEEP for verdict in verdicts):
        logger.warning(
            "%s %s changes nothing: its actions all say keep, and training.doubtful_weight is 1", SETTING, path
        )


def _read_rows(rows: Any, title: str, class_names: set[str]) -> dict[str, Verdict]:
    header: list[str] = next(rows, [])
    if missing := [name for name in NEEDED if name not in header]:
        found = ", ".join(header)
        other = "; save it with commas between the columns" if len(header) == 1 and {";", "\t"} & set(found) else ""
        raise UserError(
            f"{title} has no column {' and '.join(missing)}; expected {', '.join(NEEDED)}, found {_shown(found)}{other}"
        )
    if len(set(header)) != len(header):
        raise UserError(f"{title} has a column twice; each of its columns needs a name of its own")
    verdicts: dict[str, Verdict] = {}
    for cells in rows:
        place = f"{title}, line {rows.line_num}"
        if len(cells) != len(header):
            raise UserError(f"{place} has {len(cells)} cells, and the header {len(header)}")
        row = dict(zip(header, cells, strict=True))
        name = text_of_cell(row[FILE])
        if name in verdicts:
            raise UserError(f"{place}: the file {_shown(name)} stands in the table twice; keep one of the rows")
        verdicts[name] = _verdict(row, place, class_names)
    if not verdicts:
        raise UserError(f"{title} has no row; leave the setting out, or name a table with rows")
    return verdicts


def _verdict(row: Mapping[str, str], place: str, class_names: set[str]) -> Verdict:
    action, label, doubtful = row[ACTION], row[LABEL], row.get(DOUBTFUL, "")
    if action not in ACTIONS:
        raise UserError(f"{place}: the action {_shown(action)} is not known; expected {', '.join(ACTIONS)}")
    if label not in class_names and (label or action == CHANGE):
        known = ", ".join(sorted(class_names))
        raise UserError(f"{place}: the label {_shown(label)} is not a class; dataset.class_names has {known}")
    if doubtful not in (YES, NO, ""):
        raise UserError(f"{place}: {DOUBTFUL} is {_shown(doubtful)}; expected {YES}, {NO} or nothing")
    return Verdict(action, label, doubtful == YES, row.get(GIVEN, ""))


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…")


def relabel_faces(
    table: pd.DataFrame, verdicts: Mapping[str, Verdict], file: str
) -> tuple[pd.DataFrame, pd.Series, Relabelling]:
    """Apply verdicts to a table with source, label and split; only training faces are touched.

    Return the table with the changed labels and a boolean column DOUBTFUL, which rows are to be dropped, and what was
    done. Raises UserError where not one verdict is of a training face.
    """
    named = np.flatnonzero(table["source"].isin(list(verdicts)))
    labels = table["label"].to_numpy(dtype=object, copy=True)
    doubtful, dropped = np.zeros((2, len(table)), dtype=bool)
    changes: Counter[str] = Counter()
    held_out = outdated = 0
    found = table.iloc[named]
    for place, source, label, split in zip(named, found["source"], found["label"], found["split"], strict=True):
        verdict = verdicts[source]
        if split != TRAIN:
            held_out += 1
        elif verdict.given not in ("", label):
            outdated += 1
        elif verdict.action == DROP:
            dropped[place] = True
        else:
            doubtful[place] = verdict.doubtful
            if verdict.action == CHANGE and verdict.label != label:
                changes[f"{label} → {verdict.label}"] += 1
                labels[place] = verdict.label
    missing = len(verdicts) - found["source"].nunique()
    if len(named) == held_out + outdated:
        raise UserError(
            f"{SETTING} {file} would do nothing: {missing:,} rows name a file that the data set does not have, "
            f"{held_out:,} a validation or test face, {outdated:,} a face with another label than the file says; name "
            "the table that --pipeline audit wrote for this data set"
        )
    done = Relabelling(
        file=Path(file).name,
        changed=sum(changes.values()),
        dropped=int(dropped.sum()),
        doubtful=int(doubtful.sum()),
        held_out=held_out,
        missing=missing,
        outdated=outdated,
        changes=dict(changes.most_common()),
    )
    relabelled = table.copy()
    relabelled["label"], relabelled[DOUBTFUL] = pd.Series(labels, table.index, dtype="str"), doubtful
    return relabelled, pd.Series(dropped, table.index), done
