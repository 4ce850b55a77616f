"""The review: whether there is anything to train for, given the champion and what a training would use now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from configs.lifecycle_settings import MonitoringSettings, RetrainingSettings
from configs.section import Section
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle.drift import DriftReport, face_properties, measure_drift
from vision.lifecycle.gate import PROMOTED
from vision.lifecycle.rollback import ROLLED_BACK_AT
from vision.lifecycle.versions import LoadedVersion, Version
from vision.model.classifier import predict

Array = np.ndarray[Any, Any]
TRAIN_NOW, NOTHING_TO_DO, UNDECIDED = "train", "nothing to do", "undecided"
FINGERPRINTS = {"prepared_fingerprint": "data", "settings_fingerprint": "settings", "code_fingerprint": "code"}


class ReviewRules(Section):
    """When to train again, how drift is judged, and how the compared faces are chosen and predicted."""

    retraining: RetrainingSettings
    monitoring: MonitoringSettings
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Review:
    """What to do and why; UNDECIDED is for the faces that are new to the champion to decide."""

    verdict: str
    reason: str


def review_fingerprints(
    model_name: str,
    champion: Version | None,
    challenger: Version | None,
    now: Mapping[str, str],
    settings: RetrainingSettings,
) -> Review:
    """Compare data, settings and code with those of the champion and of the last challenger, by their fingerprints."""
    if champion is None:
        return Review(TRAIN_NOW, f"{model_name} has no champion")
    changed = what_changed(champion, now)
    if not changed:
        reason = f"data, settings and code are those that champion version {champion.number} was trained with"
        return Review(NOTHING_TO_DO, reason)
    if challenger and _is_settled(challenger) and not what_changed(challenger, now):
        outcome = challenger.tags["decision"]
        reason = f"data, settings and code are those of version {challenger.number}, which the gate has {outcome}"
        return Review(NOTHING_TO_DO, reason)
    verdict = UNDECIDED if changed == ["data"] and settings.only_if_drifted else TRAIN_NOW
    return Review(verdict, f"{' and '.join(changed)} changed since champion version {champion.number}")


def _is_settled(challenger: Version) -> bool:
    """Say whether the gate's decision was carried out; a run that was killed may have left it at the tags."""
    decision = challenger.tags.get("decision")
    return bool(decision) and (decision != PROMOTED or ROLLED_BACK_AT in challenger.tags)


def what_changed(version: Version, now: Mapping[str, str]) -> list[str]:
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


def choose_faces(new: Array, rules: ReviewRules) -> Array:
    """Return the positions of the new faces to compare: none where they are too few, a sample where they are many."""
    if len(new) < rules.monitoring.min_faces:
        return new[:0]
    return np.sort(np.random.default_rng(rules.seed).permutation(new)[: rules.retraining.compared_faces])


def measure_new_faces(
    champion: LoadedVersion, reference: pd.DataFrame, faces: FaceSet, rules: ReviewRules
) -> DriftReport:
    """Compare faces, and what the champion says of them, with what it was trained on."""
    probabilities = predict(champion.classifier, faces.images, rules.batch_size)
    sizes = faces.table[["width", "height"]].min(axis=1).to_numpy()
    current = face_properties(faces.images, sizes).assign(
        emotion=np.array(champion.class_names)[probabilities.argmax(axis=1)], confidence=probabilities.max(axis=1)
    )
    return measure_drift(reference, current, rules.monitoring)


def review_drift(champion: Version, new: Array, drift: DriftReport | None, settings: MonitoringSettings) -> Review:
    """Decide by the drift of the new faces; None where they are too few to measure it."""
    found = f"{len(new):,} faces are new to champion version {champion.number}"
    if drift is None:
        reason = f"{found}, fewer than monitoring.min_faces, which is {settings.min_faces}"
        return Review(NOTHING_TO_DO, reason)
    reason = f"{found}, and {', '.join(drift.drifted_properties) or 'no property'} has drifted"
    return Review(TRAIN_NOW if drift.drifted else NOTHING_TO_DO, reason)
