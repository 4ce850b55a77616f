import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from commands.reproduction import THINGS
from configs.loading import FOLDER, load_settings
from tests.conftest import PROJECT, SMALL, FinishedRun, command
from tests.pipelines.conftest import Life


@pytest.fixture(scope="module")
def client(finished_run: FinishedRun) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(finished_run.tracking_uri)


@pytest.fixture(scope="module")
def run(finished_run: FinishedRun, client: mlflow.MlflowClient) -> Any:
    return client.get_run(finished_run.last_lines()["MLflow run"])


RECIPES = ("compact", "demo", "gpu", "quick")


@pytest.mark.parametrize("overlays", [[], *([FOLDER / f"{name}.yaml"] for name in RECIPES)], ids=["training", *RECIPES])
def test_each_yaml_compiles(overlays: list[Path]) -> None:
    from pipelines.training import training

    training.prepare(load_settings(overlays, {}), {"dataset": "x"}, "fingerprint")

    steps = list(training.invocations)
    assert steps.index("ingest_data") < steps.index("accept_data") < steps.index("train_model")
    assert steps[-1] == "export_onnx"  # a failure there takes away neither a promotion nor the report


def test_a_whole_run_ends_well_and_says_where_everything_is(finished_run: FinishedRun) -> None:
    assert finished_run.code == 0, finished_run.output
    lines = finished_run.last_lines()
    assert set(lines) >= {
        "experiment",
        "MLflow run",
        "model",
        "report",
        "test accuracy",
        "test macro-F1",
        "open the UI",
    }
    assert lines["experiment"] == "face-emotion"
    assert finished_run.tracking_uri in lines["open the UI"]
    assert "Traceback" not in finished_run.output
    assert "ephemeral docs site" not in finished_run.output  # of Great Expectations, which sets its own log level
    assert "DEMO" not in finished_run.output  # the reader was asked for by name


def test_drawn_faces_are_tagged_so_that_nothing_takes_them_for_real(run: Any, client: mlflow.MlflowClient) -> None:
    versions = client.search_model_versions("name='face-emotion-classifier'")
    (version,) = [version for version in versions if version.run_id == run.info.run_id]

    assert run.data.tags["dataset"] == "drawn"
    assert version.tags["dataset"] == "drawn"
    assert run.data.tags["weights"] == "none"
    assert run.data.tags["weights_sha256"] == "random"
    challenger = client.get_model_version_by_alias("face-emotion-classifier", "challenger")
    assert challenger.version == max(versions, key=lambda version: int(version.version)).version


def test_the_run_has_settings_metrics_and_lineage(run: Any) -> None:
    assert run.info.status == "FINISHED"
    assert run.data.params["dataset.drawn.faces"] == "210"
    assert run.data.params["training.phases.1.name"] == "top"
    assert {"test/accuracy", "test/macro_f1", "test/accuracy_low", "test_clean/accuracy", "test_class/recall_happy",
            "temperature", "best_val_accuracy", "data_seconds", "balance/imbalance_ratio",
            "validation/leaked_failed", "preprocessing/after_train"} <= set(run.data.metrics)  # fmt: skip
    assert any(name.startswith("system/") for name in run.data.metrics)
    contexts = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert set(contexts) == {"ingested", "test"}
    assert contexts["ingested"].digest == run.data.tags["data_fingerprint"]


def test_every_epoch_is_in_mlflow(run: Any, client: mlflow.MlflowClient) -> None:
    steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "val_accuracy")]

    assert steps == [1, 2]


def test_figures_predictions_and_report_are_in_mlflow(run: Any, client: mlflow.MlflowClient) -> None:
    def artifacts(folder: str) -> set[str]:
        return {Path(entry.path).name for entry in client.list_artifacts(run.info.run_id, folder)}

    assert {
        "confusion_matrix.png",
        "reliability.png",
        "grad_cam.png",
        "worst_mistakes.png",
        "predictions.json",
    } <= artifacts("evaluation")
    assert {"learning_curves.png"} <= artifacts("training")
    assert artifacts("promotion") == {"decision.json", "page.html"}  # there is no champion to compare with
    assert artifacts("reference") == {"reference.parquet"}
    assert {"page.html"} <= artifacts("validation")
    assert {"sample_faces.png", "class_counts.png"} <= artifacts("balance")
    assert {"augmentation.png"} <= artifacts("augmentation")
    assert {"report.html", "model_card.md", "model_card.html", "confusion_matrix.png"} <= artifacts("")


def test_the_registered_model_predicts_as_the_run_measured(
    finished_run: FinishedRun, run: Any, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    mlflow.set_tracking_uri(finished_run.tracking_uri)
    file = client.download_artifacts(run.info.run_id, "evaluation/predictions.json", str(tmp_path))
    table = pd.read_json(file, orient="split")
    uri = finished_run.last_lines()["model"]
    settings = load_settings([], SMALL)
    from vision.data.ingestion import ingest_faces

    faces = ingest_faces(settings.dataset, settings.seed)
    rows = [faces.table.index[faces.table["source"] == source][0] for source in table["source"]]

    model = mlflow.pyfunc.load_model(uri)
    probabilities = model.predict(faces.images[rows][..., None].astype(np.float32))

    assert model.metadata.get_input_schema().input_types()[0] == np.dtype("float32")
    assert model.metadata.metadata["class_names"] == list(faces.class_names)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    predicted = [faces.class_names[code] for code in probabilities.argmax(axis=1)]
    assert predicted == table["predicted"].tolist()
    assert np.mean([p == label for p, label in zip(predicted, table["label"], strict=True)]) == pytest.approx(
        run.data.metrics["test/accuracy"]
    )


def test_the_report_is_one_file_that_needs_no_other(finished_run: FinishedRun) -> None:
    page = Path(finished_run.last_lines()["report"]).read_text(encoding="utf-8")

    assert page.count("data:image/png;base64,") >= 12
    assert "the faces are drawn" in page
    for outside in ('src="http', 'href="http', "<script"):
        assert outside not in page
    for step in ("ingest_data", "validate_data", "preprocess_data", "train_model"):
        assert f"<td>{step}" in page


def test_invalid_data_ends_with_code_5_a_table_and_a_failed_run(life: Life, client: mlflow.MlflowClient) -> None:
    failed = life.steps["invalid"]

    assert failed.code == 5, failed.output
    assert "unassigned/disgust: 0" in failed.output
    assert "Traceback" not in failed.output
    (experiment,) = [found for found in client.search_experiments() if found.name == "face-emotion"]
    (left,) = client.search_runs([experiment.experiment_id], "tags.dataset LIKE 'faces%'")
    assert left.info.status == "FAILED"
    assert left.data.metrics["validation/class_count_failed"] == 6


@pytest.fixture(scope="module")
def stopped_run(
    toy_yaml: Path, set_up: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    """Return a training that was started as a user starts it, and stopped with Ctrl-C in its first epoch."""
    phase = {"name": "long", "trainable": ["head"], "epochs": 50, "learning_rate": 0.001, "schedule": "constant"}
    phases = json.dumps([{**phase, "warmup_epochs": 0, "patience": 50}])
    folder = set_up(tmp_path_factory.mktemp("stopped"))
    line, environment, state, reports = command(folder, "--config", str(toy_yaml), "--training.phases", phases)
    process = subprocess.Popen(
        line, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = ""
    deadline = time.monotonic() + 200
    while "epoch 1/50" not in output and time.monotonic() < deadline:
        output += process.stdout.readline()

    process.send_signal(signal.SIGINT)
    output += process.communicate(timeout=100)[0]
    return FinishedRun(process.returncode, output, state, reports, environment)


def test_ctrl_c_in_training_ends_with_code_130_and_names_the_checkpoint(stopped_run: FinishedRun) -> None:
    assert stopped_run.code == 130, stopped_run.output
    assert "Traceback" not in stopped_run.output
    kept = stopped_run.output.split("is kept at ")[1].split(";")[0]
    import keras

    assert keras.saving.load_model(kept, safe_mode=True).output_shape == (None, 7)


def test_nothing_of_zenml_or_mlflow_is_written_to_the_home_folder(stopped_run: FinishedRun) -> None:
    written = {path.relative_to(stopped_run.environment["HOME"]).as_posix() for path in stopped_run.home_files()}

    assert not [path for path in written if "zenml" in path or "mlflow" in path or path.endswith(".db")]


def test_a_training_is_reproduced_by_its_run_id_to_a_millionth(life: Life) -> None:
    reproduced = life.steps["reproduced"]
    run_id, lines = life.steps["better"].last_lines()["MLflow run"], reproduced.last_lines()

    assert f"settings, data, weights, code, versions and machine are those of run {run_id}" in reproduced.output
    assert float(lines["largest difference"].split()[0]) <= 1e-6


def test_a_run_reproduced_takes_its_data_steps_from_the_cache_and_measures_the_same(
    client: mlflow.MlflowClient, life: Life
) -> None:
    better, reproduced = life.steps["better"], life.steps["reproduced"]
    run_id = better.last_lines()["MLflow run"]

    then, now = client.get_run(run_id).data, client.get_run(reproduced.last_lines()["MLflow run"]).data

    assert "ingest_data: done" in better.output
    assert "ingest_data: done" not in reproduced.output
    assert "preview_augmentation: done" in reproduced.output  # its artifact was deleted
    assert now.tags["reproduces"] == run_id
    for name in ("test/accuracy", "test/macro_f1", "test/negative_log_likelihood", "best_val_accuracy", "temperature",
                 "validation/blank_failed"):  # fmt: skip
        assert now.metrics[name] == pytest.approx(then.metrics[name], abs=1e-6)
    assert set(now.metrics) == set(then.metrics)


def test_the_tags_and_the_kept_settings_say_all_that_a_reproduction_compares(finished_run: FinishedRun) -> None:
    client = mlflow.MlflowClient(finished_run.tracking_uri)
    run_id = finished_run.last_lines()["MLflow run"]

    assert set(THINGS) <= set(client.get_run(run_id).data.tags)
    file = Path(client.download_artifacts(run_id, "settings.json"))
    assert json.loads(file.read_text())["dataset"]["drawn"]["faces"] == 210
