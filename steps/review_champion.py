"""Step review_champion."""

import logging
from typing import Annotated

import mlflow
import numpy as np
import pandas as pd
from zenml import step

from configs.settings import MonitoringSettings, RetrainingSettings
from steps import registry
from steps.tracking import log_report
from vision.classifier import predict
from vision.drift import DriftReport, face_properties, measure_drift
from vision.faces import TRAIN, FaceSet

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
    now = {**tags, "data_fingerprint": prepared.fingerprint}
    changed = [name for tag, name in FINGERPRINTS.items() if champion and champion.tags.get(tag) != now[tag]]
    if champion is None:
        verdict, reason = TRAIN_NOW, f"{model_name} has no champion"
    elif not changed:
        verdict = NOTHING_TO_DO
        reason = f"data, settings and code are those that champion version {champion.number} was trained with"
    elif changed == ["data"] and retraining.only_if_drifted:
        drift = measure_training_drift(
            registry.load_model(champion.uri),
            registry.load_reference(champion),
            prepared,
            retraining.compared_faces,
            monitoring,
            batch_size,
            seed,
        )
        log_report(drift, "drift")
        verdict = TRAIN_NOW if drift.drifted else NOTHING_TO_DO
        found = ", ".join(drift.drifted_properties) or "no property"
        reason = f"the data differs from that of champion version {champion.number}, and {found} has drifted"
    else:
        verdict, reason = TRAIN_NOW, f"{' and '.join(changed)} changed since champion version {champion.number}"
    mlflow.set_tags({"verdict": verdict, "verdict_reason": reason, "data_fingerprint": prepared.fingerprint})
    logger.info("%s: %s", verdict, reason)
    return verdict, reason


def measure_training_drift(
    champion: registry.LoadedModel,
    reference: pd.DataFrame,
    prepared: FaceSet,
    count: int,
    monitoring: MonitoringSettings,
    batch_size: int,
    seed: int,
) -> DriftReport:
    """Compare a sample of the new training faces with what the champion was trained on."""
    rows = np.random.default_rng(seed).permutation(prepared.rows(TRAIN))[:count]
    sample = prepared.take(np.sort(rows))
    probabilities = predict(champion.classifier, sample.images, batch_size)
    sizes = sample.table[["width", "height"]].min(axis=1).to_numpy()
    current = face_properties(sample.images, sizes).assign(
        emotion=np.array(champion.class_names)[probabilities.argmax(axis=1)], confidence=probabilities.max(axis=1)
    )
    return measure_drift(reference, current, monitoring)
