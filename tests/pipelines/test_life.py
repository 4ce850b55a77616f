"""A model's whole life through run.py, on drawn faces and two real SQLite MLflow stores."""

from pathlib import Path

import mlflow
import pandas as pd

from configs.loading import load_settings
from tests.conftest import SMALL, FinishedRun
from tests.pipelines.conftest import Life
from vision.data.ingestion import ingest_faces

NAME = "face-emotion-classifier"


def champion(store: FinishedRun) -> mlflow.entities.model_registry.ModelVersion:
    return mlflow.MlflowClient(store.tracking_uri).get_model_version_by_alias(NAME, "champion")


def test_every_step_ends_with_its_code(life: Life) -> None:
    codes = {name: done.code for name, done in life.steps.items()}

    assert codes == {
        "first": 0, "invalid": 5, "better": 0, "reproduced": 3, "rollback": 0, "forward": 0, "export": 0,
        "import": 0, "import again": 0, "predict": 0, "predict again": 0, "monitor": 0, "monitor bright": 6,
        "retrain": 0,
    }, "\n".join(done.output for done in life.steps.values())  # fmt: skip
    assert not [name for name, done in life.steps.items() if "Traceback" in done.output]


def test_the_gate_says_what_it_decided_and_rollback_what_it_did(life: Life) -> None:
    assert life.steps["first"].last_lines()["promoted"] == "there is no champion, and every floor is kept"
    assert "against champion version 1" in life.steps["better"].last_lines()["promoted"]
    assert "macro_f1 +0.0000 against champion version 2" in life.steps["reproduced"].last_lines()["held"]
    back, forward = life.steps["rollback"].last_lines(), life.steps["forward"].last_lines()
    assert (back["champion before"], back["champion now"]) == ("version 2", "version 1")
    assert (forward["champion before"], forward["champion now"]) == ("version 1", "version 2")
    version = champion(life.steps["export"])
    assert str(version.version) == "2"
    assert version.tags["previous_champion"] == "1"
    assert len(version.tags["prepared_fingerprint"]) == 32


def test_every_registered_version_has_a_model_card(life: Life) -> None:
    client = mlflow.MlflowClient(life.steps["export"].tracking_uri)

    for version in client.search_model_versions(f"name='{NAME}'"):
        files = {file.path for file in client.list_artifacts(version.run_id)}
        assert {"model_card.md", "model_card.html", "report.html"} <= files
        assert f"{NAME}, version {version.version}" in version.description


def test_an_imported_champion_is_the_exported_one(life: Life) -> None:
    before, after = champion(life.steps["export"]), champion(life.steps["import"])

    assert str(after.version) == "1"
    assert after.tags["imported_from"] == f"{NAME} version 2"
    kept = ("prepared_fingerprint", "settings_fingerprint", "code_fingerprint", "dataset", "promoted_at", "decision")
    assert {name: after.tags[name] for name in kept} == {name: before.tags[name] for name in kept}
    old = mlflow.MlflowClient(life.steps["export"].tracking_uri).get_run(before.run_id).data.metrics
    new = mlflow.MlflowClient(life.steps["import"].tracking_uri).get_run(after.run_id).data.metrics
    assert new["test/accuracy"] == old["test/accuracy"]
    assert "imported before" in life.steps["import again"].last_lines()["champion"]


def test_the_imported_champion_predicts_every_picture_once(life: Life, crops: Path) -> None:
    table = pd.read_parquet(life.steps["predict"].last_lines()["predictions"])

    assert sorted(table["source"]) == sorted(path.name for path in crops.iterdir())
    assert table.set_index("source").loc["broken.png", "error"]
    assert set(table["model_version"].dropna()) == {"1"}
    again = life.steps["predict again"].last_lines()["predictions"]
    assert again == life.steps["predict"].last_lines()["predictions"]
    # the faces are of the kind that it was trained on, so it mostly knows them
    settings = load_settings([], {**SMALL, "seed": 7})
    labels = ingest_faces(settings.dataset, seed=7).table["label"]
    known = table[table["error"] == ""].sort_values("source")
    assert (known["most_likely"].to_numpy() == labels.to_numpy()).mean() > 0.4


def test_monitoring_tells_like_faces_from_brighter_ones(life: Life) -> None:
    assert life.steps["monitor"].last_lines()["drifted"] == "nothing"
    assert "brightness" in life.steps["monitor bright"].last_lines()["drifted"]
    assert Path(life.steps["monitor bright"].last_lines()["drift page"]).is_file()


def test_retraining_finds_that_nothing_changed_since_the_imported_champion(life: Life) -> None:
    assert "are those that champion version 1 was trained with" in life.steps["retrain"].last_lines()["nothing to do"]


def test_the_review_keeps_the_fingerprint_of_the_data_beside_that_of_the_prepared_faces(life: Life) -> None:
    client = mlflow.MlflowClient(life.steps["retrain"].tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (review,) = client.search_runs(experiments, "tags.pipeline = 'retraining'")

    (ingested,) = [entry.dataset for entry in review.inputs.dataset_inputs if entry.tags[0].value == "ingested"]
    assert review.data.tags["data_fingerprint"] == ingested.digest
    assert review.data.tags["prepared_fingerprint"] == champion(life.steps["import"]).tags["prepared_fingerprint"]
