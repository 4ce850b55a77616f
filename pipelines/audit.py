"""The audit pipeline: which labels of training faces are probably wrong, by networks that did not learn from them."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.settings import Settings
from pipelines import training
from pipelines.runner import Outcome, execute, output
from stack.client_files import send_verdicts
from stack.preflight import check_teachers
from stack.step_places import StepPlaces
from steps.accept_data import accept_data
from steps.answer_fold import answer_fold
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.rank_labels import rank_labels
from steps.validate_data import validate_data
from vision.data.readers import source_fingerprint
from vision.training.hosts import refuse_hosts
from vision.training.out_of_fold import FoldRequest

SECTIONS = {*training.SECTIONS, "audit"} - {"balance", "evaluation", "promotion", "onnx"}


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def audit(settings: Settings, tags: dict[str, str], fingerprint: str) -> None:
    """Ingest, validate and preprocess as training does, from its cache; answer each fold; rank the labels."""
    seed, places = settings.seed, StepPlaces.of(settings)
    faces = ingest_data(settings.dataset, seed, fingerprint, settings.detection)
    validation = validate_data(faces, settings.validation, settings.preprocessing.blank_standard_deviation)
    accept_data(faces, validation, settings.model_dump(mode="json", include=SECTIONS), tags, places)
    verdicts = send_verdicts(settings.preprocessing)
    prepared, _ = preprocess_data(faces, settings.preprocessing, seed, verdicts, after="accept_data")
    answers = [answer_fold(prepared, request, places) for request in fold_requests(settings)]
    rank_labels(prepared, answers, places)


def fold_requests(settings: Settings) -> list[FoldRequest]:
    """Return what each fold is asked for."""
    return [
        FoldRequest(
            fold=fold,
            audit=settings.audit,
            classifier=settings.classifier,
            augmentation=settings.augmentation,
            training=settings.training,
            seed=settings.seed,
        )
        for fold in range(settings.audit.folds)
    ]


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Run the pipeline on the active stack; the last lines say what was found, and how to use it."""
    refuse_hosts()
    check_teachers(settings)  # their hash is part of the tags
    tags = {**tags, **training.describe(settings), "pipeline": "audit"}
    finished = execute(audit, settings, settings, tags, source_fingerprint(settings.dataset))
    report, files = (output(finished, "rank_labels", name) for name in ("label_audit", "files"))
    table = files["doubtful_labels.csv"]
    return Outcome(
        {
            "doubtful labels": f"{report.doubtful:,} of {report.faces:,}",
            "wrong labels, estimated": f"{report.wrong_share:.1%}",
            "accuracy out of fold": f"{report.accuracy:.2%}",
            "page to go through": files["doubtful_labels.html"],
            "table": table,
            "train with it": f"your training's command with --preprocessing.relabel {table}, after changing actions in "
            "the table, or with --training.doubtful_weight below 1",
        }
    )
