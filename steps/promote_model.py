"""Step promote_model: let the gate decide whether the challenger becomes the champion."""

import logging
from dataclasses import replace
from typing import Annotated

import mlflow
from zenml import step

from configs.errors import UserError
from materializers.report_materializer import ReportMaterializer
from stack import model_store, registry
from stack.run_log import log_report, run_id
from stack.step_places import StepPlaces
from vision.data.faces import TEST, FaceSet
from vision.lifecycle.decision import Decision
from vision.lifecycle.drift import learnt_faces
from vision.lifecycle.gate import PROMOTED, Contender, GateRules, decide, measure_contender

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False, output_materializers={"decision": ReportMaterializer})
def promote_model(
    prepared: FaceSet, model_uri: str, rules: GateRules, places: StepPlaces
) -> Annotated[Decision, "decision"]:
    """Score champion and challenger on the same test faces; move the alias if the challenger is better."""
    version = registry.find_version(model_uri)
    test = prepared.take(prepared.rows(TEST))
    challenger = measure_contender(model_store.load_model(model_uri), test, rules)
    if rules.promotion.max_generalization_gap < 1:  # the evaluation measured it, earlier in this run
        challenger = replace(challenger, generalization_gap=mlflow.get_run(run_id()).data.metrics["generalization_gap"])
    while True:
        decision = _compare_with_champion(version, challenger, test, rules)
        logger.info("version %s is %s: %s", version.number, decision.outcome, decision.reason)
        mlflow.set_tags(decision.tags)
        log_report(decision, "promotion", facts="decision.json")
        if decision.outcome != PROMOTED:
            registry.tag_version(version.name, version.number, decision.tags)
            break
        tags = {registry.PROMOTED_AT: registry.now(), registry.PREVIOUS: decision.champion or "none"}
        try:
            registry.move_champion(version.name, version.number, decision.champion, {**decision.tags, **tags})
            break
        except registry.ChampionMovedError:
            logger.warning("another run changed the champion meanwhile; comparing with the new one")
    places.write_report("decision.md", decision.markdown())
    return decision


def _compare_with_champion(
    version: registry.RegisteredVersion, challenger: Contender, test: FaceSet, rules: GateRules
) -> Decision:
    """Compare with whichever version is the champion now. Raises ModelError where that cannot be loaded."""
    holder, champion = registry.find_alias(version.name, registry.CHAMPION), None
    learnt = learnt_faces(model_store.load_reference(version))
    if holder:
        try:
            champion = measure_contender(model_store.load_model(holder.uri), test, rules)
            learnt |= learnt_faces(model_store.load_reference(holder))
        except UserError as error:
            raise registry.ModelError(
                f"the champion is needed for the comparison, so nothing was promoted: {error}. Restore it from a "
                "backup, go back with --pipeline rollback --rollback.version N, or start a new store with "
                "--state_folder FOLDER (--pipeline import brings an exported champion back there)"
            ) from error
    learned = test.table["exact_hash"].isin(learnt).to_numpy()
    return decide(challenger, champion, test, learned, rules)
