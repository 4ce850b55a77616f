"""Finished tables: a table of predictions counts as finished once `_SUCCESS` beside it says what it holds."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from vision.files.atomic import write_file

JOB, TABLE, SUCCESS = "job.json", "predictions.parquet", "_SUCCESS"


def mark_finished(folder: Path) -> None:
    """Write _SUCCESS with the number of rows of the table in a folder."""
    text = json.dumps({"rows": pq.read_metadata(folder / TABLE).num_rows})
    write_file(folder / SUCCESS, lambda file: file.write_text(text, encoding="utf-8"))


def read_finished(table: Path, mark: Path) -> pa.Table:
    """Read a table whose _SUCCESS is `mark`. Raises UserError where it is not finished or was changed since."""
    for file in (mark, table):
        if not file.is_file():
            raise UserError(f"{file} is missing: these predictions are not finished; run the same inference again")
    try:
        counted = json.loads(mark.read_text(encoding="utf-8"))["rows"]
        found = pq.read_metadata(table).num_rows
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the predictions {table} cannot be read ({error}); run the same inference again") from error
    if found != counted:
        raise UserError(
            f"{table} has {found} rows, and {SUCCESS} says {counted}: the table was changed; delete its folder, and "
            "run the same inference again"
        )
    return pq.read_table(table)
