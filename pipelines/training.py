"""The training pipeline: from raw faces to an evaluated challenger, and to the champion if it is better."""

from pathlib import Path
from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.errors import HELD, REJECTED
from configs.settings import Settings
from pipelines.runner import Outcome, execute, output
from stack.client_files import send_verdicts
from stack.fingerprints import code_fingerprint, hash_teachers, hash_verdicts, settings_fingerprint
from stack.preflight import check_training
from stack.state_store import forget_training
from stack.step_places import StepPlaces
from steps.accept_data import accept_data
from steps.analyze_balance import analyze_balance
from steps.evaluate_model import evaluate_model
from steps.export_onnx import export_onnx
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.preview_augmentation import preview_augmentation
from steps.promote_model import promote_model
from steps.register_model import register_model
from steps.report_run import report_run
from steps.train_model import train_model
from steps.validate_data import validate_data
from steps.write_model_card import write_model_card
from vision.data.readers import source_fingerprint
from vision.lifecycle.gate import GateRules
from vision.lifecycle.run_report import RunRequest

SECTIONS = {
    "seed", "tracking", "dataset", "validation", "balance", "preprocessing", "augmentation", "classifier", "training",
    "evaluation", "promotion", "onnx",
}  # fmt: skip
EXIT_CODES = {"promoted": 0, "held": HELD, "rejected": REJECTED}


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)  # the step's own error reaches run.py
def training(settings: Settings, tags: dict[str, str], fingerprint: str) -> None:
    """Ingest, validate, analyse, preprocess, train, register, evaluate, promote, report and export."""
    seed, tracking, places = settings.seed, settings.tracking, StepPlaces.of(settings)
    everything = kept_settings(settings)

    faces = ingest_data(settings.dataset, seed, fingerprint, settings.detection)
    validation = validate_data(faces, settings.validation, settings.preprocessing.blank_standard_deviation)
    accept_data(faces, validation, everything, tags, places)
    balance = analyze_balance(faces, settings.balance, seed, after="accept_data")
    verdicts = send_verdicts(settings.preprocessing)
    prepared, preprocessing = preprocess_data(faces, settings.preprocessing, seed, verdicts, after="accept_data")
    augmentation = preview_augmentation(prepared, settings.augmentation, settings.classifier.crop_size, seed)
    classifier, history, reference = train_model(
        prepared,
        settings.balance,
        settings.classifier,
        settings.augmentation,
        settings.training,
        settings.evaluation,
        settings.promotion,
        settings.onnx,
        seed,
        places,
    )
    model_uri = register_model(classifier, reference, prepared, tracking.model_name, tags, places)
    evaluation, _ = evaluate_model(prepared, model_uri, settings.evaluation, seed)
    write_model_card(validation, balance, preprocessing, history, evaluation, model_uri, settings.card)
    decision = promote_model(
        prepared,
        model_uri,
        GateRules(promotion=settings.promotion, evaluation=settings.evaluation, seed=seed),
        places,
        after="write_model_card",
    )
    report_run(
        validation,
        balance,
        preprocessing,
        augmentation,
        history,
        evaluation,
        decision,
        model_uri,
        RunRequest(settings=everything, tags=tags),
        places,
        after="preview_augmentation",
    )
    # last, so that a failure there takes away neither a promotion nor the report
    export_onnx(prepared, model_uri, settings.onnx, seed, after="report_run")


def kept_settings(settings: Settings) -> dict[str, Any]:
    """Return what a run keeps of its settings, by section as JSON can hold it: all that decides what it learns."""
    kept = settings.model_dump(mode="json", include=SECTIONS)
    cut_out = {} if settings.detection is None else {"inference": settings.detection.that_decide_faces()}
    return kept | cut_out


def describe(settings: Settings) -> dict[str, str]:
    """Return the tags that identify a training besides its settings."""
    dataset = settings.dataset
    names = {"drawn": "drawn", "kaggle": dataset.kaggle_name}
    return {
        "pipeline": "training",
        "dataset": names.get(dataset.reader, Path(dataset.path).resolve().name),
        "weights": Path(settings.classifier.weights).name,
        "relabel_sha256": hash_verdicts(settings),
        "teacher_sha256": hash_teachers(settings),
        "settings_fingerprint": settings_fingerprint(settings),
        "code_fingerprint": code_fingerprint(),
    }


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack; the exit code says what the gate decided.

    Raises UserError before the first step for what would end it late.
    """
    check_training(settings)
    tags = {**tags, **describe(settings)}
    finished = execute(training, settings, settings, tags, source_fingerprint(settings.dataset))
    # only now: a run that is stopped after its training must not train again
    forget_training(settings.state_folder, output(finished, "train_model", "history").state)
    outcome = output(finished, "promote_model", "decision").outcome
    return Outcome(output(finished, "report_run", "summary"), EXIT_CODES[outcome])
