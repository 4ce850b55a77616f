"""The retraining pipeline: training, if a review of the champion finds a reason."""

import logging

from zenml import pipeline
from zenml.enums import ExecutionMode

from configs.errors import UserError
from configs.loading import PROJECT
from configs.settings import Settings
from pipelines import training
from pipelines.runner import Outcome, execute, output
from stack.client_files import send_verdicts
from stack.doctor import examine, render
from stack.preflight import check_training
from stack.step_places import StepPlaces
from steps.accept_data import accept_data
from steps.ingest_data import ingest_data
from steps.preprocess_data import preprocess_data
from steps.review_champion import review_champion
from steps.validate_data import validate_data
from vision.data.readers import source_fingerprint
from vision.lifecycle.review import NOTHING_TO_DO, ReviewRules

logger = logging.getLogger(__name__)

SECTIONS = {"seed", "tracking", "dataset", "validation", "preprocessing", "monitoring", "retraining"}


@pipeline(execution_mode=ExecutionMode.FAIL_FAST)
def retraining(settings: Settings, tags: dict[str, str], fingerprint: str) -> None:
    """Ingest, validate and preprocess as training does, which then finds these steps in the cache; review."""
    seed, tracking = settings.seed, settings.tracking
    faces = ingest_data(settings.dataset, seed, fingerprint, settings.detection)
    validation = validate_data(faces, settings.validation, settings.preprocessing.blank_standard_deviation)
    shown = settings.model_dump(mode="json", include=SECTIONS)
    accept_data(faces, validation, shown, tags, StepPlaces.of(settings))
    verdicts = send_verdicts(settings.preprocessing)
    prepared, _ = preprocess_data(faces, settings.preprocessing, seed, verdicts, after="accept_data")
    rules = ReviewRules(
        retraining=settings.retraining,
        monitoring=settings.monitoring,
        batch_size=settings.evaluation.batch_size,
        seed=seed,
    )
    review_champion(prepared, tracking.model_name, tags, rules)


def run(settings: Settings, tags: dict[str, str]) -> Outcome:
    """Look over the machine, review the champion, and train if there is a reason to."""
    findings = examine(settings, PROJECT, settings.state_folder)
    logger.info("doctor:\n%s", render(findings))
    wrong = [finding for finding in findings if not finding.is_ok]
    if wrong:
        raise UserError(f"the doctor found what must be fixed first:\n{render(wrong)}")
    check_training(settings)  # now: what is wrong would only be told after the review
    described = {**tags, **training.describe(settings), "pipeline": "retraining"}
    finished = execute(retraining, settings, settings, described, source_fingerprint(settings.dataset))
    verdict, reason = (output(finished, "review_champion", name) for name in ("verdict", "reason"))
    if settings.retraining.dry_run and verdict != NOTHING_TO_DO:
        return Outcome({"dry run": f"would {verdict}", "reason": reason})
    if verdict == NOTHING_TO_DO:
        return Outcome({verdict: reason})
    trained = training.run(settings, tags)
    return Outcome({"trained because": reason, **trained.lines}, trained.exit_code)
