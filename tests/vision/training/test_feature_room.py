import shutil
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.training import feature_room
from vision.training.feature_cache import FeatureStore
from vision.training.feature_room import check_feature_room
from vision.training.learner import Learner, build_learner
from vision.training.recipe import Recipe, TrainingData

pytestmark = pytest.mark.usefixtures("with_toy_backbone")

NEEDED = 2 * (2 * 64 + 32) * 16 * 16 * 8  # bytes: two views of training faces, one of validation faces, block 1's map


@pytest.fixture
def learner(few_faces: FaceSet, toy_settings: Settings) -> Learner:
    """A learner whose first phase trains the head alone, and the second also block 2, whose features are larger."""
    recipe = Recipe(toy_settings.classifier, toy_settings.augmentation, toy_settings.training, 3)
    return build_learner(TrainingData(few_faces, dict.fromkeys(few_faces.class_names, 1.0)), recipe)


def test_features_of_a_later_phase_that_do_not_fit_are_refused_before_the_first(
    learner: Learner, tmp_path: Path
) -> None:
    phases = learner.recipe.training.phases

    with pytest.raises(UserError, match=r"phase top: training\.cached_views 2 needs .*cache_gigabytes allows"):
        check_feature_room(learner, phases, FeatureStore(tmp_path, (NEEDED - 1) / 1e9))
    check_feature_room(learner, phases, FeatureStore(tmp_path, NEEDED / 1e9))
    check_feature_room(learner, phases[:1], FeatureStore(tmp_path, (NEEDED - 1) / 1e9))


def test_the_room_of_features_that_are_kept_counts_as_free(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases, store = learner.recipe.training.phases, FeatureStore(tmp_path / "features", 1.0)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(feature_room.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(UserError, match=r"needs 0\.0 GB for frozen features, the disk of .*features has 0\.0 GB"):
        check_feature_room(learner, phases, store)
    (store.folder / "kept").mkdir()
    np.save(store.folder / "kept" / "train.npy", np.zeros(NEEDED, dtype=np.uint8))
    check_feature_room(learner, phases, store)
