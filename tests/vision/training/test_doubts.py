from dataclasses import replace

import numpy as np
import pytest

from configs.settings import Settings
from vision.data.faces import TRAIN, FaceSet
from vision.data.relabelling import DOUBTFUL
from vision.training.batches import ClassBalance, Examples, FaceBatches
from vision.training.doubts import find_doubtful, weigh_doubtful
from vision.training.fingerprint import fingerprint_training
from vision.training.recipe import Recipe, TrainingData


@pytest.fixture
def doubted(few_faces: FaceSet) -> FaceSet:
    """The first and the third training face have a doubtful label."""
    marked = np.isin(np.arange(len(few_faces)), few_faces.rows(TRAIN)[[0, 2]])
    return replace(few_faces, table=few_faces.table.assign(**{DOUBTFUL: marked}))


def test_doubtful_faces_weigh_less_and_others_as_before(doubted: FaceSet) -> None:
    weights = weigh_doubtful(doubted, 0.25)

    assert weights is not None
    assert weights[:4].tolist() == [0.25, 1.0, 0.25, 1.0]
    assert weights.sum() == len(weights) - 1.5
    assert weigh_doubtful(doubted, 1.0) is None


def test_faces_that_were_never_relabelled_have_no_doubts(few_faces: FaceSet) -> None:
    faces = replace(few_faces, table=few_faces.table.drop(columns=DOUBTFUL, errors="ignore"))

    assert not find_doubtful(faces).any()


def test_a_batch_has_the_weight_of_the_face_times_that_of_its_class(doubted: FaceSet) -> None:
    of_class = np.arange(1.0, 1.0 + len(doubted.class_names))
    examples = Examples(doubted, TRAIN, weights=weigh_doubtful(doubted, 0.5))

    weights = FaceBatches(examples, 4, balance=ClassBalance(of_class))[0][2]

    expected = of_class[doubted.labels[doubted.rows(TRAIN)[:4]]] * [0.5, 1.0, 0.5, 1.0]
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_which_faces_are_doubtful_decides_a_training_only_where_they_weigh_less(
    doubted: FaceSet, few_faces: FaceSet, small_settings: Settings
) -> None:
    def fingerprint(faces: FaceSet, weight: float) -> dict[str, str]:
        training = small_settings.training.model_copy(update={"doubtful_weight": weight})
        recipe = Recipe(small_settings.classifier, small_settings.augmentation, training, 1)
        return fingerprint_training(TrainingData(faces, {}), recipe)

    assert fingerprint(doubted, 1.0) == fingerprint(few_faces, 1.0)
    assert fingerprint(doubted, 0.5)["data"] != fingerprint(few_faces, 0.5)["data"]
