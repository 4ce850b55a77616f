"""CSV reader: FER2013 as one face a row."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from configs.errors import UserError
from configs.settings import DatasetSettings
from vision.data.faces import UNASSIGNED
from vision.data.raw_faces import SPLIT_NAMES, RawFace, Reading

logger = logging.getLogger(__name__)

# of its CSV files, from 0 on (Goodfellow et al. 2013); the last three are not in alphabetical order
FER2013_CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
ROW_CHARACTERS = 4_000_000  # a face of 1000x1000


class _Lines:
    """The lines of a text file; raises csv.Error where more than `left` characters are read before it is set again."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.left = file, ROW_CHARACTERS

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(self.left + 1):
            self.left -= len(line)
            if self.left < 0:
                raise csv.Error(f"a row of more than {ROW_CHARACTERS} characters")
            yield line


def read_csv(settings: DatasetSettings, seed: int) -> Reading:
    """Read FER2013's `emotion,pixels,Usage` or `icml_face_data.csv`: one face a row, grey levels as text.

    A code is FER2013's, whatever the order of dataset.class_names. Raises UserError for a file without the columns;
    on the way, for a damaged row and for a code whose emotion is not one of dataset.class_names.
    """
    path = settings.path
    csv.field_size_limit(ROW_CHARACTERS)
    header = _read_header(path)
    numbered = ", ".join(f"{code} {name}" for code, name in enumerate(FER2013_CODES))
    logger.info("dataset.path %s: the codes of its emotions are read as FER2013's (%s)", path, numbered)
    return Reading(path.name, "csv", None, _read_rows(path, header, settings.class_names))


def _open(path: Path) -> TextIO:
    return path.open(newline="", encoding="utf-8-sig", errors="replace")


def _read_header(path: Path) -> list[str]:
    """Return the names of the columns. Raises UserError where the ones that are needed are missing."""
    with _open(path) as file:
        try:
            header = [name.strip().lower() for name in next(csv.reader(_Lines(file)), [])]
        except csv.Error as error:
            raise UserError(f"dataset.path {path}, line 1: {error}; expected emotion,pixels,Usage") from error
    if missing := {"emotion", "pixels"} - set(header):
        raise UserError(
            f"dataset.path {path} has no column {' and '.join(sorted(missing))}; "
            f"expected emotion, pixels and (optionally) Usage, found {', '.join(header)[:80]!r}"
        )
    return header


def _read_rows(path: Path, header: list[str], class_names: tuple[str, ...]) -> Iterator[RawFace]:
    with _open(path) as file:
        lines = _Lines(file)
        rows = csv.reader(lines, strict=True)  # otherwise an open quote swallows the rest of the file
        try:
            next(rows)
            for row in rows:
                lines.left = ROW_CHARACTERS
                values = dict(zip(header, row, strict=False))
                code = values.get("emotion", "").strip()
                label = _fer2013_label(code, class_names, f"{path}, line {rows.line_num}")
                split = SPLIT_NAMES.get(values.get("usage", "").strip().lower(), UNASSIGNED)
                yield RawFace(f"{path.name}:{rows.line_num}", label, split, values.get("pixels", ""))
        except csv.Error as error:
            raise UserError(f"dataset.path {path}, line {rows.line_num}: {error}") from error


def _fer2013_label(code: str, class_names: tuple[str, ...], place: str) -> str:
    """Return the emotion of a code; anything that is not one of FER2013's codes stays as it is."""
    if code not in map(str, range(len(FER2013_CODES))):
        return code
    label = FER2013_CODES[int(code)]
    if label not in class_names:
        raise UserError(
            f"dataset.path {place}: the code {code} is FER2013's {label}, which dataset.class_names "
            f"{list(class_names)} lacks; add it, or write the emotions' names into the column emotion"
        )
    return label
