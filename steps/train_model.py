"""Step train_model."""

from typing import Annotated

import keras
import mlflow
import pandas as pd
from zenml import step

from configs.data_settings import BalanceSettings
from configs.lifecycle_settings import OnnxSettings, PromotionSettings
from configs.training_settings import AugmentationSettings, ClassifierSettings, EvaluationSettings, TrainingSettings
from materializers.keras_model_materializer import KerasModelMaterializer
from materializers.report_materializer import ReportMaterializer
from stack.fingerprints import surroundings
from stack.model_store import find_teachers
from stack.run_log import EpochLog, keep_planned, log_report, measured
from stack.state_store import UNFINISHED, ArtifactStates
from stack.step_places import StepPlaces
from vision.data.faces import FaceSet
from vision.evaluation.calibration import calibrate_classifier
from vision.lifecycle.afterwards import after_training
from vision.lifecycle.drift import add_taught, reference_table
from vision.model.weight_files import weights_hash
from vision.training.class_weights import weigh_classes
from vision.training.history import TrainingHistory
from vision.training.loop import train_classifier
from vision.training.recipe import Recipe, TrainingData, TrainingPaths


@step(
    experiment_tracker=True,
    enable_cache=False,
    output_materializers={"classifier": KerasModelMaterializer, "history": ReportMaterializer},
)
def train_model(
    prepared: FaceSet,
    balance: BalanceSettings,
    classifier: ClassifierSettings,
    augmentation: AugmentationSettings,
    training: TrainingSettings,
    evaluation: EvaluationSettings,
    promotion: PromotionSettings,
    onnx: OnnxSettings,
    seed: int,
    places: StepPlaces,
) -> tuple[
    Annotated[keras.Model, "classifier"],
    Annotated[TrainingHistory, "history"],
    Annotated[pd.DataFrame, "reference"],
]:
    """Fine-tune; every epoch's metrics go to MLflow as they happen, the best epoch so far is on disk.

    A training that was stopped resumes from its last epoch, and its earlier epochs go to this run too.
    The reference says what the model learned from, for the comparison with later faces.
    """
    teachers, learnt_before = find_teachers(training.distillation.teachers)
    data = TrainingData(prepared, weigh_classes(prepared, training, balance), teachers)
    recipe = Recipe(classifier, augmentation, training, seed)
    mlflow.set_tags(surroundings())
    work, store = places.work, ArtifactStates.of_active_stack() if places.elsewhere else None
    paths = TrainingPaths(places.run_checkpoint(), work / "features", work / UNFINISHED, store)
    epochs = EpochLog()
    after = after_training(prepared, evaluation, promotion, onnx)
    with measured():
        best, history = train_classifier(data, recipe, paths, epochs, after)
        calibrated, calibration, probabilities = calibrate_classifier(best, prepared, training)
    epochs.finish()
    log_report(history, "training")
    if training.weighs_classes:
        mlflow.log_dict(dict(data.class_weights), "training/class_weights.json")
    if training.minutes:
        keep_planned(history.planned)
    mlflow.log_dict(calibration.of(prepared.class_names), "training/calibration.json")
    mlflow.log_metric("temperature", calibration.temperature)
    repeatable = "to the bit" if history.repeatable else "not repeatable to the bit"
    tags = {
        "weights_sha256": weights_hash(classifier.weights),
        "precision": history.precision,
        "calibration": "by class" if training.calibrates_by_class else "temperature",
    }
    mlflow.set_tags({**tags, "repeatable": repeatable})
    reference = reference_table(prepared, probabilities)
    for earlier in learnt_before:
        reference = add_taught(reference, earlier)
    return calibrated, history, reference
