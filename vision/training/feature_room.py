"""Feature room: whether the frozen features of every phase will fit, asked before the first is trained."""

import shutil
from collections.abc import Sequence

import numpy as np

from configs.training_settings import PhaseSettings
from vision.data.faces import TRAIN, VALIDATION
from vision.model.classifier import set_trainable
from vision.training.feature_cache import FLOAT16_BYTES, FeatureStore, check_room, split_classifier
from vision.training.learner import Learner


def check_feature_room(learner: Learner, phases: Sequence[PhaseSettings], store: FeatureStore) -> None:
    """Raise UserError where the features of a phase cannot fit, or a phase names a part that is not there.

    Features that are kept already may be those of the phase, so their room counts as free.
    """
    views, faces = learner.recipe.training.cached_views, learner.data.faces
    shown = views * len(faces.rows(TRAIN)) + len(faces.rows(VALIDATION))
    for phase in phases:
        set_trainable(learner.network, phase.trainable)
        cut = split_classifier(learner.network) if views else None
        if cut is None:
            continue
        needed = FLOAT16_BYTES * shown * int(np.prod(cut[0].output.shape[1:]))
        check_room(f"phase {phase.name}: training.cached_views {views}", needed, store, free_bytes(store))


def free_bytes(store: FeatureStore) -> int:
    """Return how many bytes features may take: those that are free, and those that features take now."""
    store.folder.mkdir(parents=True, exist_ok=True)
    kept = sum(file.stat().st_size for file in store.folder.glob("*/*.npy"))
    return kept + shutil.disk_usage(store.folder).free
