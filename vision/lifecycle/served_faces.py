"""Served faces: what the service notes of the faces that it answered, a Parquet file an hour, for monitoring.

Without pixels, boxes and addresses: what is measured of a face, what the model said of it, and when.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import UserError
from vision.files.atomic import write_file

NUMBER = pa.float32()
SCHEMA = pa.schema({
    "time": pa.timestamp("ms", tz="UTC"), "brightness": NUMBER, "contrast": NUMBER, "sharpness": NUMBER,
    "size": pa.int32(), "emotion": pa.string(), "confidence": NUMBER, "version": pa.string(),
})  # fmt: skip
PREFIX, HOUR = "served-", "%Y%m%dT%H"
FILES = f"{PREFIX}*.parquet"


def hour_file(folder: Path, time: datetime) -> Path:
    """Return the file of the rows of an hour, in UTC."""
    return folder / f"{PREFIX}{time.astimezone(UTC):{HOUR}}.parquet"


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows of SCHEMA to an hour's file, which is whole at any moment. Raises OSError and pyarrow's errors."""
    added = pa.Table.from_pylist(list(rows), SCHEMA)
    table = pa.concat_tables([pq.read_table(path, schema=SCHEMA), added]) if path.exists() else added
    write_file(path, lambda file: pq.write_table(table, file))


def delete_old(folder: Path, days: int, now: datetime) -> int:
    """Delete the files of hours that ended more than `days` ago; return how many. Raises OSError."""
    oldest = hour_file(folder, now - timedelta(days=days)).name
    old = [path for path in folder.glob(FILES) if path.name < oldest]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def holds_served_faces(folder: Path) -> bool:
    """Say whether a folder is one that the service writes to."""
    return folder.is_dir() and any(folder.glob(FILES))


def read_served(folder: Path, version: str) -> tuple[pa.Table, int]:
    """Return the rows that a version answered, and how many others there are. Raises UserError for a damaged file."""
    tables = []
    for path in sorted(folder.glob(FILES)):
        try:
            tables.append(pq.read_table(path, schema=SCHEMA))
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"inference.input: {path} is not a file that the service wrote: {error}") from error
    table = pa.concat_tables(tables)
    chosen = table.filter(pc.equal(table["version"], version))
    return chosen, len(table) - len(chosen)
