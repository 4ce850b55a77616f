"""Step collect_served_faces: gather what the service noted of the faces that the champion answered."""

import logging
from pathlib import Path
from typing import Annotated

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
from zenml import step

from stack import registry
from stack.run_log import run_id
from stack.step_places import StepPlaces
from vision.inference.finished import TABLE, mark_finished
from vision.lifecycle.served_faces import read_served

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def collect_served_faces(
    served_folder: str, model_name: str, places: StepPlaces, tags: dict[str, str]
) -> tuple[Annotated[int, "faces"], Annotated[str, "predictions_folder"], Annotated[str, "model_uri"]]:
    """Write the champion's rows as compare_faces reads them; rows of other versions are counted and left out."""
    champion = registry.champion_of(model_name)
    table, others = read_served(Path(served_folder), champion.number)
    if others:
        logger.info("%s faces were answered by other versions than %s and are left out", f"{others:,}", champion.number)
    mlflow.set_tags({**tags, "model": champion.uri, "served_faces": str(len(table))})
    columns = {"face": pa.nulls(len(table), pa.int32()).fill_null(0), "most_likely": table["emotion"]}
    for name, column in columns.items():
        table = table.append_column(name, column)
    folder = Path(places.reports_folder, run_id())
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / TABLE)
    mark_finished(folder)
    return len(table), str(folder), champion.uri
