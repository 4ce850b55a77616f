"""A toy network, for what does not depend on a network's size, and quicker ways to train it."""

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from configs.settings import Settings
from tests.toy_network import toy_backbone
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.backbones import BACKBONES


@pytest.fixture(scope="module")
def with_toy_backbone() -> Iterator[None]:
    """Let vgg_compact be the toy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "vgg_compact", toy_backbone)
        yield


@pytest.fixture(scope="module")
def without_curves() -> Iterator[None]:
    """Draw no learning curves, which take longer than a toy's epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision.training.loop.plots.learning_curves", lambda *history: b"curves")
        yield


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Let TensorFlow compute without tracing, which takes longer than a toy's epochs."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session")
def few_faces(prepared: FaceSet) -> FaceSet:
    """Return two batches of training faces and one of validation faces."""
    return prepared.take(np.concatenate([prepared.rows(TRAIN)[:64], prepared.rows(VALIDATION)[:32]]))


@pytest.fixture(scope="session")
def toy_settings(small_settings: Settings) -> Settings:
    """Return the small settings for the toy, for modules that use `with_toy_backbone`."""
    classifier = small_settings.classifier.model_copy(update={"backbone": "vgg_compact", "width": 1.0})
    first, second = small_settings.training.phases
    phases = first, second.model_copy(update={"trainable": ("head", "block2")})
    training = small_settings.training.model_copy(update={"phases": phases})
    return small_settings.model_copy(update={"classifier": classifier, "training": training})
