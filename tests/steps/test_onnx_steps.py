"""ONNX files from the registry of a real SQLite MLflow store and back, with a toy model instead of a trained one."""

import logging
import shutil
from pathlib import Path
from typing import Any

import cv2
import keras
import mlflow
import numpy as np
import pandas as pd
import pytest

from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import Settings
from stack import model_store, registry
from stack.step_places import StepPlaces
from steps.export_champion import export_champion
from steps.export_onnx import export_onnx
from steps.import_champion import import_champion
from steps.predict_pictures import predict_pictures
from vision.data.faces import VALIDATION, FaceSet
from vision.lifecycle.drift import reference_table
from vision.model.classifier import predict

pytest.importorskip("onnxruntime")
NAME = "faces"
HERE = StepPlaces(state_folder="unused", reports_folder="unused")


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    keras.utils.set_random_seed(0)
    faces = keras.Input((None, None, 1), name="faces")
    x = keras.layers.Rescaling(1 / 255)(keras.layers.Resizing(32, 32, name="resize")(faces))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(keras.layers.Conv2D(4, 3, activation="relu")(x)))
    return keras.Model(faces, keras.layers.Dense(7, activation="softmax")(x))


@pytest.fixture(scope="module")
def champion(store: Path, classifier: keras.Model, prepared: FaceSet, small_settings: Settings) -> str:
    """Register the toy as champion with what a training leaves in its run, ONNX files among it; return its URI."""
    onnx = small_settings.onnx.model_copy(update={"enabled": True, "max_accuracy_loss": 1.0})
    with mlflow.start_run():
        validation = predict(classifier, prepared.images[prepared.rows(VALIDATION)], 32)
        model_store.log_reference(reference_table(prepared, validation))
        mlflow.log_text("{}", model_store.DECISION)
        mlflow.log_text("card", f"{model_store.CARD}.md")
        mlflow.log_text("card", f"{model_store.CARD}.html")
        mlflow.log_metric("temperature", 1.0)
        uri = model_store.log_classifier(classifier, prepared.class_names, NAME)
        export_onnx.entrypoint(prepared, uri, onnx, 1)
    registry.move_champion(NAME, uri.rsplit("/", 1)[-1], None, {})
    return uri


@pytest.fixture
def pictures(prepared: FaceSet, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(prepared.images[:9]):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def infer(pictures: Path, name: str = NAME, released: str = "", **changes: Any) -> pd.DataFrame:
    base = load_settings([], {}).inference
    given = {"input": str(pictures), "output": pictures.parent / "out", "detect": False, **changes}
    with mlflow.start_run():
        _, folder, _ = predict_pictures.entrypoint(base.model_copy(update=given), name, released, 10**9, {}, HERE)
    return pd.read_parquet(Path(folder, "predictions.parquet"))


def artifacts(version: registry.RegisteredVersion) -> set[str]:
    return {Path(file.path).name for file in mlflow.MlflowClient().list_artifacts(version.run_id, model_store.ONNX)}


def test_files_report_and_figure_are_in_the_run_of_the_model(champion: str) -> None:
    version = registry.find_version(champion)

    metrics = mlflow.get_run(version.run_id).data.metrics
    assert artifacts(version) == {"model.onnx", "model.int8.onnx", "report.json", "page.html", "latencies.png"}
    assert metrics["onnx/onnx_largest_difference"] <= 1e-3
    assert metrics["onnx/onnx_int8_batch4_p95_milliseconds"] > 0


def test_where_the_export_is_off_the_step_says_so_and_writes_nothing(
    store: Path, prepared: FaceSet, small_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with mlflow.start_run() as run:
        report = export_onnx.entrypoint(prepared, "models:/nobody/1", small_settings.onnx, 1)

    assert report.skipped == "onnx.enabled is false"
    assert [record.getMessage() for record in caplog.records if record.name == "steps.export_onnx"] == [
        "no ONNX files: onnx.enabled is false"
    ]
    assert mlflow.MlflowClient().list_artifacts(run.info.run_id) == []


def test_inference_gives_the_same_table_with_each_runtime_and_a_folder_to_each(champion: str, pictures: Path) -> None:
    tables = {runtime: infer(pictures, runtime=runtime) for runtime in ("keras", "onnx", "onnx_int8")}

    columns = [column for column in tables["keras"] if column.startswith("probability_")]
    for runtime, tolerance in (("onnx", 1e-5), ("onnx_int8", 0.05)):
        np.testing.assert_allclose(tables[runtime][columns], tables["keras"][columns], atol=tolerance)
    assert not tables["onnx_int8"][columns].equals(tables["keras"][columns])
    assert len(list((pictures.parent / "out").iterdir())) == 3
    assert mlflow.last_active_run().data.tags["runtime"] == "onnx_int8"


def test_a_truncated_file_in_the_store_stops_inference_with_one_sentence(
    champion: str, store: Path, pictures: Path
) -> None:
    (file,) = (store / "artifacts").glob("*/artifacts/onnx/model.onnx")
    content = file.read_bytes()
    try:
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=r"^model\.onnx cannot be read as an ONNX model: "):
            infer(pictures, runtime="onnx")
    finally:
        file.write_bytes(content)


def test_a_version_without_the_files_is_refused_with_a_way_out(
    store: Path, classifier: keras.Model, prepared: FaceSet, pictures: Path
) -> None:
    with mlflow.start_run():
        uri = model_store.log_classifier(classifier, prepared.class_names, "without")

    with pytest.raises(registry.ModelError, match=r"inference\.runtime onnx: without version 1 has no .*such as keras"):
        infer(pictures, model=uri, runtime="onnx")


def test_a_bundle_takes_the_files_to_another_registry(champion: str, store: Path, pictures: Path) -> None:
    bundle = str(store / "champion.zip")
    with mlflow.start_run():
        export_champion.entrypoint(NAME, bundle, 10**9, {}, HERE)
    with mlflow.start_run():
        import_champion.entrypoint("imported", bundle, "", 10**9, {})
    imported = registry.champion_of("imported")

    assert artifacts(imported) == {"model.onnx", "model.int8.onnx"}
    shutil.rmtree(pictures.parent / "out", ignore_errors=True)
    assert (infer(pictures, "imported", runtime="onnx_int8")["error"] == "").all()


@pytest.mark.parametrize("runtime", ["keras", "onnx_int8"])
def test_a_released_bundle_predicts_only_where_the_registry_has_no_champion(
    runtime: str, champion: str, store: Path, pictures: Path
) -> None:
    bundle = store / f"face-emotion-{runtime}.zip"
    with mlflow.start_run():
        export_champion.entrypoint(NAME, str(bundle), 10**9, {}, HERE)

    alone = infer(pictures, "nobody", released=str(bundle), runtime=runtime)
    assert mlflow.last_active_run().data.tags["model"] == str(bundle)
    registered = infer(pictures, released=str(bundle), runtime=runtime)
    assert mlflow.last_active_run().data.tags["model"] == champion

    assert alone["emotion"].tolist() == registered["emotion"].tolist()
