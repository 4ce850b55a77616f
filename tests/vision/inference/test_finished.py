from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from vision.inference.finished import mark_finished, read_finished


def read(folder: Path) -> pa.Table:
    return read_finished(folder / "predictions.parquet", folder / "_SUCCESS")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"face": [0, 1], "source": ["a", "a"]}), tmp_path / "predictions.parquet")
    mark_finished(tmp_path)
    return tmp_path


def test_a_finished_table_is_read(finished: Path) -> None:
    assert read(finished)["face"].to_pylist() == [0, 1]


@pytest.mark.parametrize("missing", ["_SUCCESS", "predictions.parquet"])
def test_a_table_that_is_not_finished_is_refused(finished: Path, missing: str) -> None:
    (finished / missing).unlink()

    with pytest.raises(UserError, match=f"{missing} is missing"):
        read(finished)


def test_a_table_with_other_rows_than_were_counted_is_refused(finished: Path) -> None:
    pq.write_table(pa.table({"face": [0]}), finished / "predictions.parquet")

    with pytest.raises(UserError, match="1 rows, and _SUCCESS says 2"):
        read(finished)


@pytest.mark.parametrize("text", ["", "[]", "{}", "2"])
def test_a_mark_that_says_no_number_is_refused(finished: Path, text: str) -> None:
    (finished / "_SUCCESS").write_text(text)

    with pytest.raises(UserError, match="cannot be read"):
        read(finished)
