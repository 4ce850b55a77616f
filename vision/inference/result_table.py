"""Result table: the rows of a batch job, written in parts that survive an interruption and merged at the end."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from vision.data.face_detection import NO_FACE
from vision.files.atomic import write_file
from vision.reporting.cells import FORMULA

UNCERTAIN = "uncertain"
# columns of the parts, not of the table
SEVERAL = "several"  # the file holds more than one picture
TOO_SMALL = "too_small"  # how many faces the picture has under min_face_pixels
BLENDED, WHITE = "blended", "white"  # pixels were transparent; the grey level that became white, 0 of 8 bits
THUMBNAIL = "thumbnail"  # grey levels of some faces, for the summary
MERGED_ROWS = 20_000  # in memory at a time
CONFIDENCE_BINS = 40
LISTED_ERRORS = 50


def table_schema(class_names: Sequence[str]) -> pa.Schema:
    """Return the columns of predictions.parquet. Where there is no face, its numbers are null."""
    number, text, whole = pa.float32(), pa.string(), pa.int32()
    columns: dict[str, pa.DataType] = {"source": text, "face": whole}
    columns |= dict.fromkeys(("x", "y", "width", "height"), whole)
    columns |= {"emotion": text, "most_likely": text, "confidence": number}
    columns |= {f"probability_{name}": number for name in class_names}
    columns |= {"brightness": number, "contrast": number, "sharpness": number, "size": whole}
    columns |= {"model_version": text, "error": text}
    return pa.schema(columns.items())


@dataclass
class Totals:
    """What a merged table holds, counted while it is written."""

    pictures: int = 0
    faces: int = 0
    unreadable: int = 0
    without_face: int = 0
    several: int = 0
    too_small: int = 0  # faces that were found and left out
    blended: int = 0  # pictures with transparent pixels
    whites: Counter[float] = field(default_factory=Counter)  # pictures of more than 8 bits, by the level that is white
    emotions: Counter[str] = field(default_factory=Counter)
    confidence_sum: float = 0.0
    confidences: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(CONFIDENCE_BINS, dtype=np.int64))
    errors: list[tuple[str, str]] = field(default_factory=list)  # source and reason of the first unreadable pictures
    thumbnails: list[tuple[str, float, bytes]] = field(default_factory=list)  # emotion, confidence and grey levels

    def add(self, part: pa.Table) -> None:
        """Count the rows of a part."""
        table = part.to_pandas()
        faces, others = table[table["face"] >= 0], table[table["face"] < 0]
        failed = others[others["error"] != NO_FACE]
        self.pictures += len(others) + int((faces["face"] == 0).sum())
        self.faces += len(faces)
        self.unreadable += len(failed)
        self.without_face += len(others) - len(failed)
        of_pictures = table[table["face"] <= 0]  # one row of each picture
        self.several += int(of_pictures[SEVERAL].sum())
        self.too_small += int(of_pictures[TOO_SMALL].sum())
        self.blended += int(of_pictures[BLENDED].sum())
        self.whites.update(of_pictures[WHITE][of_pictures[WHITE] > 0])
        self.emotions.update(faces["emotion"])
        self.confidence_sum += float(faces["confidence"].sum())
        self.confidences += np.histogram(faces["confidence"], CONFIDENCE_BINS, (0.0, 1.0))[0]
        listed = failed.head(LISTED_ERRORS - len(self.errors))
        self.errors += zip(listed["source"], listed["error"], strict=True)
        shown = faces[faces[THUMBNAIL].notna()]
        self.thumbnails += zip(shown["emotion"], shown["confidence"], shown[THUMBNAIL], strict=True)


def make_part(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> pa.Table:
    """Return a part of the table; a row may leave out what is null, and may have a thumbnail."""
    columns = {THUMBNAIL: pa.binary(), SEVERAL: pa.bool_(), TOO_SMALL: pa.int32(), BLENDED: pa.bool_()}
    columns[WHITE] = pa.float32()
    plain = {SEVERAL: False, TOO_SMALL: 0, BLENDED: False, WHITE: 0.0}
    schema = pa.schema([*table_schema(class_names), *columns.items()])
    return pa.Table.from_pylist([{**plain, **row} for row in rows], schema)


def write_part(path: Path, rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> None:
    """Write a part of the table as `make_part` makes it."""
    part = make_part(rows, class_names)
    write_file(path, lambda file: pq.write_table(part, file))


def count_pictures_with_faces(part: Path) -> int:
    """Return how many pictures of a part have a face."""
    return int(pc.sum(pc.equal(pq.read_table(part, columns=["face"])["face"], 0)).as_py() or 0)


def merge_parts(parts: Iterable[pa.Table], path: Path, class_names: Sequence[str]) -> Totals:
    """Write the parts, in their order, into one parquet file, and return what it holds."""
    totals = Totals()
    schema = table_schema(class_names)

    def write(file: Path) -> None:
        with pq.ParquetWriter(file, schema) as writer:
            waiting: list[pa.Table] = []
            for table in parts:
                totals.add(table)
                waiting.append(table.select(schema.names))
                if sum(len(one) for one in waiting) >= MERGED_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))

    write_file(path, write)
    return totals


def write_csv(table: Path, path: Path) -> None:
    """Write a parquet table as CSV. A source that a spreadsheet would take for a formula gets an apostrophe."""

    def write(file: Path) -> None:
        source = pq.ParquetFile(table)
        with pa_csv.CSVWriter(file, source.schema_arrow) as writer:
            for batch in source.iter_batches(MERGED_ROWS):
                names = batch["source"]
                plain = pc.binary_join_element_wise("'", names, "")
                harmless = pc.if_else(pc.match_substring_regex(names, FORMULA), plain, names)
                writer.write(batch.set_column(0, "source", harmless))

    write_file(path, write)
