"""Step roll_back_model: give the champion's place back to an earlier champion."""

import logging
from typing import Annotated

import mlflow
from zenml import step

from configs.lifecycle_settings import RollbackSettings
from stack import model_store, registry
from vision.lifecycle.rollback import ROLLED_BACK_AT, check_target, choose_target

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def roll_back_model(
    model_name: str, rollback: RollbackSettings, tags: dict[str, str]
) -> Annotated[dict[str, str], "summary"]:
    """Give the alias champion back to the champion before, or to the version that was asked for, if it loads."""
    if rollback.version:
        current, asked = registry.find_alias(model_name, registry.CHAMPION), str(rollback.version)
    else:
        current = registry.champion_of(model_name)
        asked = choose_target(model_name, current.number, current.tags.get(registry.PREVIOUS))
    number = current.number if current else None
    target = registry.find_version(f"models:/{model_name}/{asked}")
    check_target(model_name, asked, number, registry.PROMOTED_AT in target.tags)
    model_store.load_model(target.uri)
    when = registry.now()
    restored = {"restored_at": when, "restored_reason": rollback.reason}
    registry.move_champion(model_name, asked, number, restored)
    if number:
        registry.tag_version(model_name, number, {ROLLED_BACK_AT: when, "rolled_back_reason": rollback.reason})
    before = f"version {number}" if number else "none"
    mlflow.set_tags({**tags, "rollback_from": before, "rollback_to": f"version {asked}", **restored})
    mlflow.set_tag("mlflow.note.content", f"Champion: {before} → version {asked}. Reason: {rollback.reason}")
    logger.info("the champion was %s and is now version %s; reason: %s", before, asked, rollback.reason)
    return {"champion before": before, "champion now": f"version {asked}", "reason": rollback.reason}
