"""Face tables: the rows of millions of faces, written block by block to a file and mapped into memory from there."""

import importlib.util
import mmap
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

BLOCK = 65_536  # rows
HAS_ARROW = importlib.util.find_spec("pyarrow") is not None  # a bare training does without, and keeps rows in memory


class TableFile:
    """A temporary file to which rows are appended; it is deleted with the table that is mapped from it.

    One block at a time is in memory; of the mapped table only the numbers are, its texts stay in the file. It is
    Arrow's own format, which is mapped as it is; Parquet would have to be decoded into memory.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - `mapped` closes it
        self.writer: Any = None
        self.in_memory: list[pd.DataFrame] = []

    def append(self, block: pd.DataFrame) -> None:
        """Append rows; all blocks have the same columns."""
        if not HAS_ARROW:
            self.in_memory.append(block)
            return
        import pyarrow as pa

        rows = pa.Table.from_pandas(block, preserve_index=False)
        if self.writer is None:
            self.writer = pa.ipc.new_file(self.file, rows.schema)
        self.writer.write_table(rows)

    def mapped(self) -> pd.DataFrame:
        """Return all rows, after which none can be appended. Raises ValueError without a block."""
        if self.in_memory:
            return pd.concat(self.in_memory, ignore_index=True)
        if self.writer is None:
            raise ValueError("a table without a block of rows")
        import pyarrow as pa

        self.writer.close()
        with self.file as file:
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table: pd.DataFrame = pa.ipc.open_file(pa.py_buffer(content)).read_all().to_pandas(split_blocks=True)
        return table


def map_table(blocks: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Write blocks to a file and return them as one mapped table. Raises ValueError without a block."""
    table = TableFile()
    for block in blocks:
        table.append(block)
    return table.mapped()


def table_blocks(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield a table as blocks of BLOCK rows; one without rows as one block."""
    for start in range(0, max(1, len(table)), BLOCK):
        yield table.iloc[start : start + BLOCK]


def write_parquet(table: pd.DataFrame, file: Path) -> None:
    """Write a table block by block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, pa.Schema.from_pandas(table, preserve_index=False)) as writer:
        for block in table_blocks(table):
            writer.write_table(pa.Table.from_pandas(block, preserve_index=False))


def read_parquet(file: Path) -> pd.DataFrame:
    """Map the rows that a Parquet file has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as stored:
        if not stored.metadata.num_rows:
            empty: pd.DataFrame = stored.read().to_pandas()
            return empty
        return map_table(pa.Table.from_batches([batch]).to_pandas() for batch in stored.iter_batches(BLOCK))
