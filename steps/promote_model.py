"""Step promote_model."""

import logging
from typing import Annotated

import mlflow
import numpy as np
from zenml import step

from configs.settings import EvaluationSettings, PromotionSettings
from materializers.report_materializer import ReportMaterializer
from stack import model_store, registry
from stack.run_log import log_report, report_folder
from vision.data.faces import TEST, FaceSet
from vision.lifecycle.drift import learnt_faces
from vision.lifecycle.gate import PROMOTED, Contender, Decision, decide, measure_latency
from vision.model.classifier import predict

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False, output_materializers={"decision": ReportMaterializer})
def promote_model(
    prepared: FaceSet,
    model_uri: str,
    promotion: PromotionSettings,
    evaluation: EvaluationSettings,
    seed: int,
    state_folder: str,
    reports_folder: str,
) -> Annotated[Decision, "decision"]:
    """Score champion and challenger on the same test faces; move the alias if the challenger is better."""
    name, version = model_uri.removeprefix("models:/").split("/")
    test = prepared.take(prepared.rows(TEST))
    challenger = measure_model(model_store.load_model(model_uri), test, promotion, evaluation)
    while True:
        decision = judge(registry.find_version(model_uri), challenger, test, promotion, evaluation, seed)
        tags = {"decision": decision.outcome, "decision_reason": "; ".join(decision.reasons)}
        logger.info("version %s is %s: %s", version, decision.outcome, tags["decision_reason"])
        mlflow.set_tags(tags)
        log_report(decision, "promotion", facts="decision.json")
        if decision.outcome != PROMOTED:
            registry.tag_version(name, version, tags)
            break
        promoted = {**tags, registry.PROMOTED_AT: registry.now(), registry.PREVIOUS: decision.champion or "none"}
        try:
            registry.move_champion(name, version, decision.champion, promoted, state_folder)
            break
        except registry.ChampionMovedError:
            logger.warning("another run changed the champion meanwhile; comparing with the new one")
    (report_folder(reports_folder) / "decision.md").write_text(decision.markdown(), encoding="utf-8")
    return decision


def measure_model(
    model: model_store.LoadedModel, test: FaceSet, promotion: PromotionSettings, evaluation: EvaluationSettings
) -> Contender:
    """Predict the test faces and measure what the floors ask for, in the order of the test set's classes."""
    if set(model.class_names) != set(test.class_names):
        raise registry.ModelError(
            f"version {model.version} knows {', '.join(model.class_names)}, the test faces are "
            f"{', '.join(test.class_names)}: the two cannot be compared; set tracking.model_name to another name"
        )
    order = [model.class_names.index(name) for name in test.class_names]
    probabilities = predict(model.classifier, test.images, evaluation.batch_size)[:, order]
    if not np.isfinite(probabilities).all():
        raise registry.ModelError(f"version {model.version} gives probabilities that are no numbers")
    latency = measure_latency(model.classifier, test.images[0], promotion.latency_samples)
    return Contender(model.version, probabilities, model.megabytes, latency)


def judge(
    version: registry.RegisteredVersion,
    challenger: Contender,
    test: FaceSet,
    promotion: PromotionSettings,
    evaluation: EvaluationSettings,
    seed: int,
) -> Decision:
    """Compare with whichever version is the champion now. Raises ModelError where that cannot be loaded."""
    holder = registry.find_alias(version.name, registry.CHAMPION)
    learnt = learnt_faces(model_store.load_reference(version))
    champion = None
    if holder:
        try:
            model = model_store.load_model(holder.uri)
            champion = measure_model(model, test, promotion, evaluation)
        except registry.ModelError as error:
            raise registry.ModelError(
                f"the champion is needed for the comparison, so nothing was promoted: {error}. Restore it, or go back "
                "with --pipeline rollback --rollback.version N"
            ) from error
        learnt |= learnt_faces(model_store.load_reference(holder))
    seen = test.table["exact_hash"].isin(learnt).to_numpy()
    return decide(challenger, champion, test, seen, promotion, evaluation, seed)
