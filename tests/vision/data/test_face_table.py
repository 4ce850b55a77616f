from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from vision.data import face_table
from vision.data.face_table import TableFile, map_table, read_parquet, write_parquet

ROWS = 20_000


def rows(start: int, stop: int) -> pd.DataFrame:
    table = pd.DataFrame({"source": [f"{number:0200d}" for number in range(start, stop)], "width": range(start, stop)})
    return table.astype({"source": "str", "width": "int32"})


def test_blocks_become_one_table_whose_texts_are_not_in_memory() -> None:
    before = pa.total_allocated_bytes()
    table = map_table(rows(start, start + ROWS) for start in range(0, 10 * ROWS, ROWS))

    assert pa.total_allocated_bytes() - before < 1_000_000  # the texts have 40 MB
    pd.testing.assert_frame_equal(table, rows(0, 10 * ROWS))


def test_without_arrow_the_rows_are_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_table, "HAS_ARROW", False)

    pd.testing.assert_frame_equal(map_table([rows(0, 3), rows(3, 5)]), rows(0, 5))


def test_a_table_needs_a_block() -> None:
    with pytest.raises(ValueError, match="without a block"):
        TableFile().mapped()


@pytest.mark.parametrize("count", [0, 5])
def test_a_table_comes_back_from_parquet(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face_table, "BLOCK", 2)
    write_parquet(rows(0, count), tmp_path / "table.parquet")

    pd.testing.assert_frame_equal(read_parquet(tmp_path / "table.parquet"), rows(0, count))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), rows(0, count))
