"""Step roll_back_model."""

import logging
from typing import Annotated

import mlflow
from zenml import step

from configs.settings import RollbackSettings
from stack import model_store, registry

logger = logging.getLogger(__name__)


@step(experiment_tracker=True, enable_cache=False)
def roll_back_model(
    model_name: str, rollback: RollbackSettings, tags: dict[str, str], state_folder: str
) -> Annotated[dict[str, str], "summary"]:
    """Give the alias champion back to the champion before, or to the version that was asked for, if it loads."""
    if rollback.version:
        current, target = registry.find_alias(model_name, registry.CHAMPION), str(rollback.version)
    else:
        current = registry.champion_of(model_name)
        target = current.tags.get(registry.PREVIOUS, "none")
        if target == "none":
            raise registry.ModelError(
                f"version {current.number} of {model_name} had no champion before it; name one with "
                "--rollback.version N"
            )
    number = current.number if current else None
    check_target(model_name, target, number)
    when = registry.now()
    restored = {"restored_at": when, "restored_reason": rollback.reason}
    registry.move_champion(model_name, target, number, restored, state_folder)
    if number:
        registry.tag_version(model_name, number, {"rolled_back_at": when, "rolled_back_reason": rollback.reason})
    before = f"version {number}" if number else "none"
    mlflow.set_tags({**tags, "rollback_from": before, "rollback_to": f"version {target}", **restored})
    mlflow.set_tag("mlflow.note.content", f"Champion: {before} → version {target}. Reason: {rollback.reason}")
    logger.info("the champion was %s and is now version %s; reason: %s", before, target, rollback.reason)
    return {"champion before": before, "champion now": f"version {target}", "reason": rollback.reason}


def check_target(model_name: str, version: str, current: str | None) -> None:
    """Raise ModelError where the version is the champion, was never one, or cannot be loaded."""
    if version == current:
        raise registry.ModelError(f"version {version} of {model_name} is the champion already")
    found = registry.find_version(f"models:/{model_name}/{version}")
    if registry.PROMOTED_AT not in found.tags:
        raise registry.ModelError(
            f"rollback.version {version} of {model_name} never was champion; only the gate of --pipeline training "
            "promotes"
        )
    model_store.load_model(found.uri)
