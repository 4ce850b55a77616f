"""ZenML's cache of steps: what is kept of former runs is used only where its files are still there."""

import logging
import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zenml.models import StepRunResponse

logger = logging.getLogger(__name__)

PAGE = 100  # step runs that are read from ZenML's store at once


def forget_lost_steps(steps: Collection[str]) -> list[str]:
    """End the caching of former runs of these steps whose output has lost files, so that they run again.

    Returns the names of these steps. Only the active stack's own artifact store is looked at, and only on this machine.
    """
    from zenml.client import Client  # late: ZenML reads the environment when it is imported

    client = Client()
    store = client.active_stack.artifact_store
    if not os.path.isabs(store.path):
        return []
    lost = set()
    for run in _cached_runs(client, steps):
        outputs = [version for versions in run.outputs.values() for version in versions]
        if any(version.artifact_store_id == store.id and is_lost(version) for version in outputs):
            client.update_step_run(run.id, cache_expires_at=datetime.now(UTC))
            lost.add(run.name)
    if lost:
        logger.warning(
            "files in %s are gone, so what former runs made in these steps is not used again: %s",
            store.path, ", ".join(sorted(lost)),
        )  # fmt: skip
    return sorted(lost)


def is_lost(version: Any) -> bool:
    """Say whether the folder of an artifact version is gone, or has fewer bytes than when it was written."""
    folder = Path(version.uri)
    if not folder.is_dir():
        return True
    written = version.run_metadata.get("storage_size", 0)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < int(written)


def _cached_runs(client: Any, steps: Collection[str]) -> Iterator["StepRunResponse"]:
    """Give the runs of these steps that ZenML may take for a later run, the newest first."""
    from zenml.utils.pagination_utils import depaginate

    if steps:
        names = f"oneof:{list(steps)}".replace("'", '"')
        yield from depaginate(
            client.list_run_steps, size=PAGE, name=names, status="completed", cache_expired=False, hydrate=True
        )
