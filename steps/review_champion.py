"""Step review_champion: say whether there is anything to train for."""

import logging
from typing import Annotated

import mlflow
from zenml import step

from stack import model_store, registry
from stack.run_log import log_report
from vision.data.faces import FaceSet
from vision.lifecycle.review import (
    UNDECIDED,
    Review,
    ReviewRules,
    choose_faces,
    find_new_faces,
    measure_new_faces,
    review_drift,
    review_fingerprints,
)

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def review_champion(
    prepared: FaceSet, model_name: str, tags: dict[str, str], rules: ReviewRules
) -> tuple[Annotated[str, "verdict"], Annotated[str, "reason"]]:
    """Say whether there is anything to train for: what differs from what the champion was trained on."""
    champion = registry.find_alias(model_name, registry.CHAMPION)
    challenger = registry.find_alias(model_name, registry.CHALLENGER)
    now = {**tags, "prepared_fingerprint": prepared.fingerprint}
    review = review_fingerprints(model_name, champion, challenger, now, rules.retraining)
    if champion and review.verdict == UNDECIDED:
        review = _review_new_faces(champion, prepared, rules)
    verdict, reason = review.verdict, review.reason
    mlflow.set_tags({"verdict": verdict, "verdict_reason": reason, "prepared_fingerprint": prepared.fingerprint})
    logger.info("%s: %s", verdict, reason)
    return verdict, reason


def _review_new_faces(champion: registry.RegisteredVersion, prepared: FaceSet, rules: ReviewRules) -> Review:
    reference = model_store.load_reference(champion)
    new = find_new_faces(prepared, reference)
    chosen, drift = choose_faces(new, rules), None
    if len(chosen):
        drift = measure_new_faces(model_store.load_model(champion.uri), reference, prepared.take(chosen), rules)
        log_report(drift, "drift")
    return review_drift(champion, new, drift, rules.monitoring)
