"""What the tables of a database take, on an SQLite store that refuses what PostgreSQL refuses."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.db.base_sql_model import Base
from mlflow.store.model_registry.dbmodels import models  # noqa: F401 - its tables are Base's
from sqlalchemy import String, event
from sqlalchemy.exc import DataError

from stack.model_store import DESCRIPTION_CHARACTERS, describe_by_card
from stack.registry import ModelError, find_version


def refuse(mapper: Any, connection: Any, row: Any) -> None:
    """Raise what psycopg2 raises for a text that is longer than its column, or has a null character."""
    for column in mapper.columns:
        value = getattr(row, mapper.get_property_by_column(column).key)
        if isinstance(column.type, String) and isinstance(value, str):
            if column.type.length and len(value) > column.type.length:
                raise DataError(None, None, ValueError(f"value too long for type varying({column.type.length})"))
            if "\0" in value:
                raise ValueError("A string literal cannot contain NUL (0x00) characters.")


@pytest.fixture(scope="module")
def strict_store(empty_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow.MlflowClient]:
    """Return the client of a store with a version of a registered model."""
    folder: Path = tmp_path_factory.mktemp("strict")
    shutil.copy(empty_state / "mlflow" / "mlflow.db", folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    client.create_registered_model("emotions")
    client.create_model_version("emotions", (folder / "model").as_uri())
    kinds = [mapper.class_ for mapper in Base.registry.mappers]
    for kind in kinds:
        event.listen(kind, "before_insert", refuse)
        event.listen(kind, "before_update", refuse)
    yield client
    for kind in kinds:
        event.remove(kind, "before_insert", refuse)
        event.remove(kind, "before_update", refuse)
    mlflow.set_tracking_uri(None)


def test_the_store_refuses_as_postgresql_does(strict_store: mlflow.MlflowClient) -> None:
    with pytest.raises(MlflowException, match=r"varying\(5000\)"):
        strict_store.update_model_version("emotions", "1", "x" * 5001)


def test_a_long_card_becomes_a_description_that_says_where_the_whole_is(strict_store: mlflow.MlflowClient) -> None:
    card = "\n".join(f"line {number:04d}" for number in range(1000))

    describe_by_card("emotions", "1", card)

    described = strict_store.get_model_version("emotions", "1").description
    assert DESCRIPTION_CHARACTERS - 100 < len(described) <= DESCRIPTION_CHARACTERS
    *lines, ending = described.splitlines()
    assert lines[:-1] == card.splitlines()[: len(lines) - 1]
    assert f"{1000 - len(lines) + 1} of 1000 lines are left out" in ending
    assert "model_card.md" in ending


@pytest.mark.parametrize("number", ["2147483648", "9" * 5000])
def test_a_number_that_no_column_holds_is_not_a_registered_version(
    number: str, strict_store: mlflow.MlflowClient
) -> None:
    with pytest.raises(ModelError, match="numbers of versions end at 2147483647"):
        find_version(f"models:/emotions/{number}")
