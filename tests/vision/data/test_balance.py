from dataclasses import replace

import numpy as np
import pytest

from configs.errors import InvalidDataError
from configs.settings import Settings
from vision.data import plots
from vision.data.balance import analyze_classes, effective_number_weights, inverse_frequency_weights
from vision.data.faces import FaceSet


def test_inverse_frequency_gives_every_class_the_same_total_weight() -> None:
    counts = np.array([10, 30, 60])

    weights = inverse_frequency_weights(counts)

    np.testing.assert_allclose(weights * counts, 100 / 3)


def test_effective_numbers_lie_between_no_weights_and_inverse_frequency() -> None:
    counts = np.array([10, 30, 60])

    np.testing.assert_allclose(effective_number_weights(counts, 0.0), 1.0)
    np.testing.assert_allclose(effective_number_weights(counts, 1 - 1e-9), inverse_frequency_weights(counts), rtol=1e-5)
    # Cui et al. 2019: 1 / E_n with E_n = (1 - 0.9^n) / 0.1, then scaled
    by_hand = 0.1 / (1 - 0.9**counts)
    np.testing.assert_allclose(effective_number_weights(counts, 0.9), by_hand * 100 / (by_hand * counts).sum())


def test_counts_are_of_decodable_faces_by_split(drawn: FaceSet, small_settings: Settings) -> None:
    table = drawn.table.copy()
    table["split"] = ["train"] * 200 + ["test"] * 10
    table.loc[0, "error"] = "broken"

    report = analyze_classes(replace(drawn, table=table), small_settings.balance, seed=0)

    assert {split: sum(counts.values()) for split, counts in report.counts.items()} == {"train": 199, "test": 10}
    counts = np.array(list(report.counts["train"].values()))
    assert report.imbalance_ratio == pytest.approx(counts.max() / counts.min())


def test_entropy_is_one_where_all_classes_are_alike(
    drawn: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "sample_faces", lambda *arguments: b"")  # seconds
    table = drawn.table.assign(label=[drawn.class_names[row % 7] for row in range(210)])

    report = analyze_classes(replace(drawn, table=table), small_settings.balance, seed=0)

    assert (report.imbalance_ratio, report.normalized_entropy) == (1.0, pytest.approx(1.0))


def test_a_class_without_training_faces_is_named(drawn: FaceSet, small_settings: Settings) -> None:
    faces = replace(drawn, class_names=(*drawn.class_names, "contempt"))

    with pytest.raises(InvalidDataError, match="no training face of: contempt"):
        analyze_classes(faces, small_settings.balance, seed=0)
