"""Step evaluate_model: score the registered model on the test split."""

import tempfile
from pathlib import Path
from typing import Annotated

import mlflow
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from zenml import step

from configs.training_settings import EvaluationSettings
from materializers.report_materializer import ReportMaterializer
from stack.model_store import load_model
from stack.registry import TEST_FINGERPRINT, find_version, tag_version
from stack.run_log import log_report, measured
from vision.data.faces import TEST, FaceSet
from vision.evaluation.evaluation import EvaluationReport, evaluate_classifier


@step(
    experiment_tracker=True,
    enable_cache=False,
    output_materializers={"evaluation_report": ReportMaterializer},
)
def evaluate_model(
    prepared: FaceSet, model_uri: str, evaluation: EvaluationSettings, seed: int
) -> tuple[Annotated[EvaluationReport, "evaluation_report"], Annotated[pd.DataFrame, "predictions"]]:
    """Load the registered model back from MLflow and score it on the test split."""
    classifier = load_model(model_uri).classifier
    with measured():
        report, predictions = evaluate_classifier(classifier, prepared, evaluation, seed)
    test = prepared.take(prepared.rows(TEST))
    mlflow.log_input(from_pandas(test.table, name=prepared.name, digest=test.fingerprint), context="test")
    tested_on, version = {TEST_FINGERPRINT: test.fingerprint}, find_version(model_uri)
    mlflow.set_tags(tested_on)
    tag_version(version.name, version.number, tested_on)  # which goes along where the champion is exported
    log_report(report, "evaluation")
    with tempfile.TemporaryDirectory() as temporary:
        picture = Path(temporary, "confusion_matrix.png")
        picture.write_bytes(report.figures[picture.name])
        mlflow.log_artifact(str(picture))  # again, at the top: MLflow's comparison of runs shows no folders
    mlflow.log_table(predictions, "evaluation/predictions.json")
    return report, predictions
