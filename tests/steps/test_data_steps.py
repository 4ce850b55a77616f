from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from configs.errors import InvalidDataError
from configs.settings import Settings
from steps.accept_data import accept_data
from steps.analyze_balance import analyze_balance
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.preview_augmentation import preview_augmentation
from steps.validate_data import validate_data
from vision.data.faces import FaceSet


def test_the_data_steps_run_without_a_stack(small_settings: Settings) -> None:
    seed = small_settings.seed

    faces = ingest_data.entrypoint(small_settings.dataset, seed, "fingerprint")
    validation = validate_data.entrypoint(faces, small_settings.validation, 1.0)
    balance = analyze_balance.entrypoint(faces, small_settings.balance, seed)
    prepared, preprocessing = preprocess_data.entrypoint(faces, small_settings.preprocessing, seed)
    preview = preview_augmentation.entrypoint(prepared, small_settings.augmentation, 0, seed)

    assert validation.images == sum(balance.counts["unassigned"].values()) == len(prepared) == 210
    assert preprocessing.rules[-1].remaining == prepared.table["split"].value_counts().to_dict()
    assert preview.settings["flip"] == 1.0


@pytest.fixture
def mlflow_run(tmp_path: Path) -> Any:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.create_experiment("tests", artifact_location=(tmp_path / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name("tests").experiment_id) as run:
        yield run


def test_invalid_data_stops_with_a_table_and_is_recorded_all_the_same(
    mlflow_run: Any, drawn: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    # every face of one class becomes unreadable
    table = drawn.table.assign(error=["broken" if label == "sad" else "" for label in drawn.table["label"]])
    faces = replace(drawn, table=table)
    validation = validate_data.entrypoint(faces, small_settings.validation, 1.0)
    settings = small_settings.model_dump(mode="json")

    with pytest.raises(InvalidDataError) as raised:
        accept_data.entrypoint(faces, validation, settings, {"dataset": "drawn"}, str(tmp_path / "reports"))

    assert raised.value.exit_code == 5
    assert "decodable" in str(raised.value)
    assert "unassigned/sad: 0" in str(raised.value)
    recorded = mlflow.get_run(mlflow_run.info.run_id)
    assert recorded.data.metrics["validation/decodable_failed"] == (drawn.table["label"] == "sad").sum()
    assert recorded.data.params["training.batch_size"] == "32"
    assert recorded.data.tags["data_fingerprint"] == faces.fingerprint
    assert (tmp_path / "reports" / mlflow_run.info.run_id / "validation.html").is_file()
