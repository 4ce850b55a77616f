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
    test = prepared.table.iloc[prepared.rows(TEST)]
    mlflow.log_input(from_pandas(test, name=prepared.name, digest=prepared.fingerprint), context="test")
    log_report(report, "evaluation")
    with tempfile.TemporaryDirectory() as temporary:
        picture = Path(temporary, "confusion_matrix.png")
        picture.write_bytes(report.figures[picture.name])
        mlflow.log_artifact(str(picture))  # again, at the top: MLflow's comparison of runs shows no folders
    mlflow.log_table(predictions, "evaluation/predictions.json")
    return report, predictions
