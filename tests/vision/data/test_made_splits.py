import numpy as np
import pandas as pd
import pytest

from configs.data_settings import PreprocessingSettings
from configs.settings import Settings
from tests.vision.data.face_sets import face_set, many
from vision.data.made_splits import make_splits


@pytest.fixture
def settings(small_settings: Settings) -> PreprocessingSettings:
    return small_settings.preprocessing


def test_the_order_in_which_faces_were_read_does_not_change_their_splits(settings: PreprocessingSettings) -> None:
    table = face_set(*many("train", 200, copies=2)).table  # as a folder is read; an archive has an order of its own

    one = make_splits(table, settings, seed=1).set_index("source")["split"]
    other = make_splits(table.sample(frac=1, random_state=0), settings, seed=1).set_index("source")["split"]

    assert one.to_dict() == other.to_dict()


def test_made_splits_have_every_class_in_its_share(settings: PreprocessingSettings) -> None:
    table = make_splits(face_set(*many("unassigned", 400)).table, settings, seed=3)

    shares = pd.crosstab(table["split"], table["label"], normalize="index")
    np.testing.assert_allclose(shares.to_numpy(), 0.5, atol=0.01)


def test_copies_stay_on_one_side_of_made_splits(settings: PreprocessingSettings) -> None:
    table = make_splits(face_set(*many("unassigned", 400, copies=4)).table, settings, seed=3)

    assert table.groupby("exact_hash")["split"].nunique().max() == 1
