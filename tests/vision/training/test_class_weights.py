from dataclasses import replace

import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TRAIN, FaceSet
from vision.data.relabelling import DOUBTFUL
from vision.training.class_weights import count_classes, weigh_classes


def doubt(faces: FaceSet, name: str) -> FaceSet:
    """Return the faces, of which all of a class are doubtful."""
    return replace(faces, table=faces.table.assign(**{DOUBTFUL: faces.table["label"] == name}))


def test_classes_are_counted_in_training_only(prepared: FaceSet) -> None:
    counts = count_classes(prepared, 1.0)

    assert counts.sum() == len(prepared.rows(TRAIN)) < len(prepared)


def test_a_doubtful_face_counts_as_much_as_it_does_in_the_loss(prepared: FaceSet) -> None:
    plain, weighed = count_classes(prepared, 1.0), count_classes(doubt(prepared, "happy"), 0.25)

    expected = np.where(np.array(prepared.class_names) == "happy", plain * 0.25, plain)
    np.testing.assert_allclose(weighed, expected)


def test_a_class_of_which_doubts_leave_nothing_is_named(prepared: FaceSet, small_settings: Settings) -> None:
    training = small_settings.training.model_copy(update={"doubtful_weight": 0.0})

    with pytest.raises(UserError, match=r"training\.doubtful_weight 0 leaves no training face of happy"):
        weigh_classes(doubt(prepared, "happy"), training, small_settings.balance)


def test_a_class_that_lost_faces_weighs_more_by_what_is_left(prepared: FaceSet, small_settings: Settings) -> None:
    happy = [row for row in prepared.rows(TRAIN) if prepared.table["label"][row] == "happy"]
    left = prepared.take(np.setdiff1d(np.arange(len(prepared)), happy[len(happy) // 2 :]))
    training = small_settings.training.model_copy(update={"class_weights": "inverse_frequency"})

    weights = weigh_classes(left, training, small_settings.balance)

    taught = left.table["label"][left.rows(TRAIN)]
    assert weights["happy"] == pytest.approx(len(taught) / (7 * (taught == "happy").sum()))
    assert weights["happy"] > weigh_classes(prepared, training, small_settings.balance)["happy"]
