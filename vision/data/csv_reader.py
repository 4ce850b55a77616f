"""CSV reader: FER2013 as one face a row, with its own labels or the votes of FER+."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import IO, TextIO

from configs.data_settings import DatasetSettings
from configs.errors import UserError
from vision.data.faces import UNASSIGNED
from vision.data.label_codes import Labels
from vision.data.raw_faces import RawFace, Reading
from vision.data.reading_notes import ReadingNotes
from vision.data.split_names import SplitNames
from vision.files.archives import DAMAGED_ARCHIVE
from vision.files.file_sets import FileSet
from vision.files.paths import printable

ROW_CHARACTERS = 4_000_000  # a face of 1000x1000
FACES = {"emotion", "pixels"}
SPLIT_COLUMNS = ("usage", "split", "set", "subset", "partition")  # the first that is there
DELIMITERS = ",;\t"
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf")
NO_EMOTION = {"unknown": "whose emotion FER+ calls unknown", "nf": "that show no face by FER+"}


@dataclass(frozen=True)
class Table:
    """A CSV file: what messages call it, its short name, and how its bytes are read."""

    title: str
    name: str
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells by column and where it stands."""

    cells: dict[str, str]
    line: int
    place: str


class _Lines:
    """The lines of a text file; raises csv.Error where more than `left` characters are read before it is set again.

    `number` is that of the last line.
    """

    def __init__(self, file: TextIO) -> None:
        self.file, self.left, self.number = file, ROW_CHARACTERS, 0

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(self.left + 1):
            self.left -= len(line)
            if self.left < 0:
                raise csv.Error(f"a row of more than {ROW_CHARACTERS} characters")
            self.number += 1
            yield line


def read_csv(settings: DatasetSettings, seed: int) -> Reading:
    """Read FER2013's `emotion,pixels,Usage` or `icml_face_data.csv`: one face a row, grey levels as text.

    A code is FER2013's, whatever the order of dataset.class_names. Where the path is FER+'s `fer2013new.csv`, the faces
    come from the FER2013 beside it. Raises UserError for a file without the columns; on the way, for a damaged row, for
    a code whose emotion is not one of dataset.class_names, and for a Usage that is not a split.
    """
    path = settings.local_path
    table = table_of(path)
    header = read_header(table)
    if not is_votes(header):
        if missing := FACES - set(header):
            wide = "; it seems to be UTF-16, so save it as UTF-8" if any("\0" in name for name in header) else ""
            raise UserError(
                f"dataset.path {path} has no column {' and '.join(sorted(missing))}; "
                f"expected emotion, pixels and (optionally) Usage, found {', '.join(header)[:80]!r}{wide}"
            )
        return read_tables(path.name, [table], None, settings)
    beside = [table_of(other) for other in sorted(path.parent.glob("*.[cC][sS][vV]")) if other != path]
    return read_tables(path.name, faces_among(beside), table, settings)


def read_tables(name: str, faces: Sequence[Table], votes: Table | None, settings: DatasetSettings) -> Reading:
    """Read the one table of faces, with the labels of the table of votes where there is one. Raises UserError."""
    if len(faces) != 1:
        found = ", ".join(table.name for table in faces) or "none"
        beside = f" beside {votes.name}" if votes else ""
        raise UserError(
            f"dataset.path {settings.path} needs one CSV with emotion and pixels{beside}, found {found}; "
            "unpack or move one of them, and choose it with --dataset.path"
        )
    labels = Labels(settings, "" if votes else "fer2013")
    notes = ReadingNotes(labels, "FER+" if votes else "")
    return Reading(name, "csv", None, _read_faces(faces[0], votes, labels, SplitNames(settings.splits), notes), notes)


def table_of(path: Path) -> Table:
    """Return the table that a file is."""
    return Table(str(path), path.name, lambda: path.open("rb"))


def tables_of(files: FileSet, path: Path) -> list[Table]:
    """Return the CSV files among the other files of a set."""
    names = [name for name in files.others if name.lower().endswith(".csv")]
    return [Table(f"{path}: {printable(name)}", name, partial(files.open_other, name)) for name in names]


def faces_among(tables: Sequence[Table]) -> list[Table]:
    """Return the tables that hold faces."""
    return [table for table in tables if set(read_header(table)) >= FACES]


def is_votes(header: Sequence[str]) -> bool:
    """Say whether the columns are those of FER+."""
    return set(header) >= set(VOTES)


def read_header(table: Table) -> list[str]:
    """Return the names of the columns, in lower case. Raises UserError where the first row is not one."""
    with _open(table) as file:
        try:
            return _header(_cells(_Lines(file)))
        except csv.Error as error:
            raise UserError(f"dataset.path {table.title}, line 1: {error}; expected emotion,pixels,Usage") from error
        except DAMAGED_ARCHIVE as error:
            raise _damaged(table, error) from error


def _cells(lines: _Lines, strict: bool = False) -> Iterator[list[str]]:
    """Return the rows of a table, cut at commas or at what a spreadsheet of another language writes instead."""
    unread = iter(lines)
    first = next(unread, "")
    delimiter = max(DELIMITERS, key=first.count)  # of equally frequent ones the first
    return csv.reader(chain([first], unread), delimiter=delimiter, strict=strict)


def _header(rows: Iterator[list[str]]) -> list[str]:
    return [name.strip().lower() for name in next(rows, [])]


def _open(table: Table) -> TextIO:
    csv.field_size_limit(ROW_CHARACTERS)
    return io.TextIOWrapper(table.open(), newline="", encoding="utf-8-sig", errors="replace")


def _damaged(table: Table, error: Exception) -> UserError:
    return UserError(f"dataset.path {table.title} is damaged: {printable(str(error))}; download it or pack it again")


def _rows(table: Table) -> Iterator[Row]:
    with _open(table) as file:
        lines = _Lines(file)
        try:
            rows = _cells(lines, strict=True)  # otherwise an open quote swallows the rest of the file
            header = _header(rows)
            for row in rows:
                lines.left = ROW_CHARACTERS
                if not any(row):  # an empty line, not a face
                    continue
                place = f"{table.title}, line {lines.number}"
                if any(cell.strip() for cell in row[len(header) :]):
                    raise UserError(
                        f"dataset.path {place} has {len(row)} cells, and the header {len(header)}; name the other "
                        "columns in the header, or remove their cells"
                    )
                # a cell that is missing is an empty one, also of the column Usage
                yield Row(dict(zip_longest(header, row[: len(header)], fillvalue="")), lines.number, place)
        except csv.Error as error:
            raise UserError(f"dataset.path {table.title}, line {lines.number}: {error}") from error
        except DAMAGED_ARCHIVE as error:
            raise _damaged(table, error) from error


def _read_faces(
    faces: Table, votes: Table | None, labels: Labels, splits: SplitNames, notes: ReadingNotes
) -> Iterator[RawFace]:
    usages = _Usages(splits)
    for row, voted in _with_votes(faces, votes):
        found, reason = _most_voted(voted) if voted else (row.cells.get("emotion", "").strip(), "")
        label = None if reason else labels.of(found, row.place)
        if reason:
            notes.without[reason] += 1
        if label is None:
            continue
        split, place = usages.split(row)
        notes.splits[split, place] += 1
        yield RawFace(f"{faces.name}:{row.line}", label, split, row.cells.get("pixels", ""))


def _with_votes(faces: Table, votes: Table | None) -> Iterator[tuple[Row, Row | None]]:
    """Yield each face with its votes, which stand in the same row. Raises UserError where the tables do not fit."""
    if votes is None:
        yield from ((row, None) for row in _rows(faces))
        return
    for row, voted in zip_longest(_rows(faces), _rows(votes)):
        if row is None or voted is None:
            shorter = faces if row is None else votes
            raise UserError(f"dataset.path {shorter.title} has fewer rows than the table beside it; they do not fit")
        if row.cells.get("usage", "").strip().lower() != voted.cells.get("usage", "").strip().lower():
            raise UserError(f"dataset.path {voted.place}: another Usage than in {row.place}; the tables do not fit")
        yield row, voted


def _most_voted(row: Row) -> tuple[str, str]:
    """Return the emotion with most votes, or why there is none."""
    try:
        votes = {name: int(row.cells.get(name, "")) for name in VOTES}
    except ValueError as error:
        raise UserError(f"dataset.path {row.place}: the votes of FER+ are not whole numbers: {error}") from error
    most = max(votes.values())
    first, *others = (name for name, count in votes.items() if count == most)
    if others:
        return "", "with a tie of the votes of FER+"
    return ("", NO_EMOTION[first]) if first in NO_EMOTION else (first, "")


class _Usages:
    """Turns the words of the column Usage into splits, and refuses those that it would have to guess."""

    def __init__(self, names: SplitNames) -> None:
        self.names = names
        self.empty, self.named = "", ""  # the first place of either

    def split(self, row: Row) -> tuple[str, str]:
        """Return a row's split and where that stands. Raises UserError."""
        column = next((name for name in SPLIT_COLUMNS if name in row.cells), None)
        if column is None:
            return UNASSIGNED, "rows without a Usage"
        title, word = column.capitalize(), row.cells[column].strip()
        split = self.names.of(word)
        if not word and not self.names.is_given(word):
            self.empty = self.empty or row.place
        elif split:
            self.named = self.named or row.place
        elif not self.names.is_given(word):
            raise UserError(
                f"dataset.path {row.place}: the {title} {word[:40]!r} is not a split that is known; say which it is "
                f"with --dataset.splits \"{{'{word[:40]}': test}}\" (train, validation or test)"
            )
        if self.empty and self.named:
            raise UserError(
                f"dataset.path {self.empty}: the {title} is empty, but {self.named.rpartition(', ')[2]} names a split; "
                "say which split is meant with --dataset.splits \"{'': train}\" (train, validation or test)"
            )
        return split or UNASSIGNED, f"{title} {word or '(empty)'}"
