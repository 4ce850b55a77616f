"""The training pipeline: from raw faces to a registered and evaluated model."""

from pathlib import Path

from zenml import pipeline
from zenml.config.cache_policy import CachePolicy
from zenml.enums import ExecutionMode
from zenml.integrations.mlflow.flavors.mlflow_experiment_tracker_flavor import MLFlowExperimentTrackerSettings

from configs.settings import Settings
from steps.accept_data import accept_data
from steps.analyze_balance import analyze_balance
from steps.evaluate_model import evaluate_model
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.preview_augmentation import preview_augmentation
from steps.register_model import register_model
from steps.report_run import report_run
from steps.train_model import train_model
from steps.validate_data import validate_data
from vision.readers import source_fingerprint

PROJECT = Path(__file__).resolve().parents[1]


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)  # the step's own error reaches run.py
def training(settings: Settings, tags: dict[str, str], fingerprint: str) -> None:
    """Ingest, validate, analyse, preprocess, train, register, evaluate and report."""
    seed, tracking = settings.seed, settings.tracking
    everything = settings.model_dump(mode="json")
    reports_folder, checkpoints = str(tracking.reports_folder), str(settings.state_folder / "checkpoints")

    faces = ingest_data(settings.dataset, seed, fingerprint)
    validation = validate_data(faces, settings.validation)
    accept_data(faces, validation, everything, tags, reports_folder)
    balance = analyze_balance(faces, settings.balance, seed, after="accept_data")
    prepared, preprocessing = preprocess_data(faces, settings.preprocessing, seed, after="accept_data")
    augmentation = preview_augmentation(prepared, settings.augmentation, seed)
    classifier, history = train_model(
        prepared,
        balance,
        settings.classifier,
        settings.augmentation,
        settings.training,
        seed,
        checkpoints,
    )
    model_uri = register_model(classifier, prepared, tracking.model_name, tags, checkpoints)
    evaluation, _ = evaluate_model(prepared, model_uri, settings.evaluation, seed)
    report_run(
        validation,
        balance,
        preprocessing,
        augmentation,
        history,
        evaluation,
        model_uri,
        everything,
        tags,
        reports_folder,
        after="preview_augmentation",
    )


def run(settings: Settings, tags: dict[str, str]) -> dict[str, str]:
    """Run the pipeline on the active stack; return what the last lines of the run say, by name."""
    tracker = MLFlowExperimentTrackerSettings(experiment_name=settings.tracking.experiment_name)
    # ZenML's cache looks at a step's own source; what the steps call is in vision/
    called = [path.relative_to(PROJECT).as_posix() for path in sorted((PROJECT / "vision").rglob("*.py"))]
    configured = training.with_options(
        settings={"experiment_tracker": tracker}, cache_policy=CachePolicy(file_dependencies=called)
    )
    finished = configured(settings, tags, source_fingerprint(settings.dataset))
    assert finished is not None  # only a schedule gives no run
    summary: dict[str, str] = finished.steps["report_run"].outputs["summary"][0].load()
    return summary
