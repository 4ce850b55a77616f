"""Step review_champion."""

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import mlflow
import numpy as np
import pandas as pd
from zenml import step

from configs.settings import MonitoringSettings, RetrainingSettings
from stack import model_store, registry
from stack.run_log import log_report
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle.drift import DriftReport, face_properties, measure_drift
from vision.model.classifier import predict

Array = np.ndarray[Any, Any]
logger = logging.getLogger(__name__)

TRAIN_NOW, NOTHING_TO_DO = "train", "nothing to do"
FINGERPRINTS = {"data_fingerprint": "data", "settings_fingerprint": "settings", "code_fingerprint": "code"}


@step(experiment_tracker=True, enable_cache=False)
def review_champion(
    prepared: FaceSet,
    model_name: str,
    tags: dict[str, str],
    retraining: RetrainingSettings,
    monitoring: MonitoringSettings,
    batch_size: int,
    seed: int,
) -> tuple[Annotated[str, "verdict"], Annotated[str, "reason"]]:
    """Say whether there is anything to train for: what differs from what the champion was trained on."""
    champion = registry.find_alias(model_name, registry.CHAMPION)
    challenger = registry.find_alias(model_name, registry.CHALLENGER)
    now = {**tags, "data_fingerprint": prepared.fingerprint}
    changed = what_changed(champion, now) if champion else []
    if champion is None:
        verdict, reason = TRAIN_NOW, f"{model_name} has no champion"
    elif not changed:
        verdict = NOTHING_TO_DO
        reason = f"data, settings and code are those that champion version {champion.number} was trained with"
    elif challenger and challenger.tags.get("decision") and not what_changed(challenger, now):
        verdict, outcome = NOTHING_TO_DO, challenger.tags["decision"]
        reason = f"data, settings and code are those of version {challenger.number}, which the gate has {outcome}"
    elif changed == ["data"] and retraining.only_if_drifted:
        reference = model_store.load_reference(champion)
        rows = find_new_faces(prepared, reference)
        verdict, reason = NOTHING_TO_DO, f"{len(rows)} faces are new to champion version {champion.number}"
        if len(rows) < monitoring.min_faces:
            reason = f"{reason}, fewer than monitoring.min_faces, which is {monitoring.min_faces}"
        else:
            chosen = np.sort(np.random.default_rng(seed).permutation(rows)[: retraining.compared_faces])
            model = model_store.load_model(champion.uri)
            drift = measure_new_faces(model, reference, prepared.take(chosen), monitoring, batch_size)
            log_report(drift, "drift")
            verdict = TRAIN_NOW if drift.drifted else NOTHING_TO_DO
            reason = f"{reason}, and {', '.join(drift.drifted_properties) or 'no property'} has drifted"
    else:
        verdict, reason = TRAIN_NOW, f"{' and '.join(changed)} changed since champion version {champion.number}"
    mlflow.set_tags({"verdict": verdict, "verdict_reason": reason, "data_fingerprint": prepared.fingerprint})
    logger.info("%s: %s", verdict, reason)
    return verdict, reason


def what_changed(version: registry.RegisteredVersion, now: Mapping[str, str]) -> list[str]:
    """Return which of data, settings and code are not those that the version was trained with."""
    return [name for tag, name in FINGERPRINTS.items() if version.tags.get(tag) != now[tag]]


def find_new_faces(prepared: FaceSet, reference: pd.DataFrame) -> Array:
    """Return the positions of training and validation faces that the champion's training did not have.

    It is surer of those that it was trained on, which would look like drift, and those that it was validated on are
    the ones that new faces are compared with.
    """
    table = prepared.table
    known = table["exact_hash"].isin(reference["exact_hash"])
    return np.flatnonzero(table["split"].isin([TRAIN, VALIDATION]) & ~known)


def measure_new_faces(
    champion: model_store.LoadedModel,
    reference: pd.DataFrame,
    faces: FaceSet,
    monitoring: MonitoringSettings,
    batch_size: int,
) -> DriftReport:
    """Compare faces, and what the champion says of them, with what it was trained on."""
    probabilities = predict(champion.classifier, faces.images, batch_size)
    sizes = faces.table[["width", "height"]].min(axis=1).to_numpy()
    current = face_properties(faces.images, sizes).assign(
        emotion=np.array(champion.class_names)[probabilities.argmax(axis=1)], confidence=probabilities.max(axis=1)
    )
    return measure_drift(reference, current, monitoring)
