from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from configs.settings import Settings
from pipelines.audit import fold_requests
from stack.step_places import StepPlaces
from steps.answer_fold import answer_fold
from steps.rank_labels import rank_labels
from vision.data.faces import TRAIN, FaceSet
from vision.data.folds import assign_folds
from vision.data.relabelling import read_verdicts
from vision.evaluation import label_audit
from vision.training.out_of_fold import FoldAnswers


@pytest.fixture
def places(tmp_path: Path) -> StepPlaces:
    return StepPlaces(state_folder=str(tmp_path / "state"), reports_folder=str(tmp_path / "reports"))


@pytest.fixture
def mlflow_run(tmp_path: Path) -> Any:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("audits", artifact_location=(tmp_path / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment) as run:
        yield run


def test_an_audit_of_all_folds_leaves_a_table_and_a_page_in_reports_and_mlflow(
    prepared: FaceSet,
    small_settings: Settings,
    places: StepPlaces,
    mlflow_run: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Networks that know the picture and not the label: the first five training faces got another one."""
    rows = prepared.rows(TRAIN)
    likely = prepared.labels[rows].copy()
    likely[:5] = (likely[:5] + 1) % 7

    def answer(faces: FaceSet, request: Any, paths: Any) -> FoldAnswers:
        held = np.flatnonzero(assign_folds(faces, request.audit.folds, request.seed) == request.fold)
        return FoldAnswers(held, np.eye(7, dtype=np.float32)[likely[held]] * 0.93 + 0.01, "state")

    monkeypatch.setattr("steps.answer_fold.predict_fold", answer)
    monkeypatch.setattr(label_audit.plots, "label_joint", lambda *given: b"")
    monkeypatch.setattr(label_audit, "labelled_faces", lambda *given: b"")
    settings = small_settings.model_copy(update={"audit": small_settings.audit.model_copy(update={"folds": 2})})

    answers = [answer_fold.entrypoint(prepared, request, places) for request in fold_requests(settings)]
    report, table, files = rank_labels.entrypoint(prepared, answers, places)

    assert report.faces == len(rows)
    assert set(table["file"]) == set(prepared.table["source"].iloc[rows[:5]])
    assert set(read_verdicts(Path(files["doubtful_labels.csv"]), prepared.class_names)) == set(table["file"])
    assert "Doubtful labels" in Path(files["doubtful_labels.html"]).read_text(encoding="utf-8")
    logged = mlflow.MlflowClient().list_artifacts(mlflow_run.info.run_id, "audit")
    assert {"audit/doubtful_labels.csv", "audit/doubtful_labels.html", "audit/joint.png"} <= {f.path for f in logged}
    assert mlflow.get_run(mlflow_run.info.run_id).data.metrics["audit/doubtful"] == report.doubtful
