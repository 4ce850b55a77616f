from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.errors import UserError
from configs.lifecycle_settings import MonitoringSettings
from configs.settings import Settings
from vision.data.faces import FaceSet
from vision.lifecycle.drift import (
    PROPERTIES,
    DriftReport,
    face_properties,
    measure_drift,
    population_stability_index,
    quantile_edges,
    reference_table,
)
from vision.lifecycle.plots import distributions

SETTINGS = MonitoringSettings(bins=10, max_population_stability_index=0.2, significance=0.01, min_faces=50)
CLASSES = np.array(["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"])
MIX = np.array([0.14, 0.02, 0.14, 0.25, 0.18, 0.16, 0.11])


def described(count: int, seed: int) -> pd.DataFrame:
    """Properties of `count` faces that are distributed about as FER2013's."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "brightness": random.normal(130, 35, count),
            "contrast": random.normal(54, 14, count),
            "sharpness": random.lognormal(7.6, 0.5, count),
            "size": np.full(count, 48.0),
            "emotion": random.choice(CLASSES, count, p=MIX),
            "confidence": random.beta(4, 3, count),
        }
    )


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision.lifecycle.plots.distributions", lambda *_: b"")


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return described(5000, seed=0)


def drifted(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[str, ...]:
    return measure_drift(reference, current, SETTINGS).drifted_properties


def test_properties_are_those_of_the_grey_levels() -> None:
    halves = np.repeat([[0, 200]], 4, axis=0).repeat(2, axis=1).astype(np.uint8)
    even = np.full((4, 4), 90, dtype=np.uint8)

    table = face_properties(np.stack([even, halves]), np.array([48, 300]))

    assert table.loc[0].to_dict() == {"brightness": 90.0, "contrast": 0.0, "sharpness": 0.0, "size": 48.0}
    assert table.loc[1, ["brightness", "contrast", "size"]].tolist() == [100.0, 100.0, 300.0]
    assert table.loc[1, "sharpness"] == 200.0**2 / 2  # the Laplacian is 0, 200, -200, 0 in every row


def test_no_faces_have_a_table_without_rows() -> None:
    table = face_properties(np.zeros((0, 48, 48), dtype=np.uint8), np.zeros(0))

    assert (len(table), set(table.dtypes.astype(str))) == (0, {"float64"})


def test_the_index_of_two_bins_is_that_worked_out_by_hand() -> None:
    # 0.25 ln(0.75 / 0.5) - 0.25 ln(0.25 / 0.5) = 0.25 ln 3
    assert population_stability_index(np.array([50, 50]), np.array([75, 25])) == pytest.approx(0.25 * np.log(3))


def test_a_bin_that_one_side_leaves_empty_counts_as_half_a_face_there() -> None:
    by_hand = (0.9 - 1.0) * np.log(0.9 / 1.0) + (0.1 - 0.005) * np.log(0.1 / 0.005)

    assert population_stability_index(np.array([100, 0]), np.array([90, 10])) == pytest.approx(by_hand)


def test_a_bin_that_both_sides_leave_empty_does_not_count() -> None:
    assert population_stability_index(np.array([30, 70, 0]), np.array([3, 7, 0])) == 0.0


def test_bins_hold_equally_many_and_what_lies_beyond_falls_outside() -> None:
    values = np.arange(100.0)

    edges = quantile_edges(values, 4)

    assert np.bincount(np.searchsorted(edges, [-1.0, *values, 100.0], "right")).tolist() == [1, 25, 25, 25, 25, 1]


def test_a_value_that_fills_several_quantiles_has_a_bin_of_its_own() -> None:
    values = np.repeat([48.0, 96.0], [60, 40])

    edges = quantile_edges(values, 10)
    bins = np.searchsorted(edges, [40.0, 48.0, 50.0, 96.0, 97.0], "right")

    assert len(set(bins)) == 5


@pytest.mark.parametrize("count", [50, 400])
def test_faces_of_the_same_kind_seldom_drift(reference: pd.DataFrame, count: int) -> None:
    alarms = [drifted(reference, described(count, seed)) for seed in range(1, 101)]

    assert sum(bool(found) for found in alarms) <= 3  # at a level of 0.01, one of 100 is to be expected


def test_of_few_faces_the_index_alone_would_raise_alarms(reference: pd.DataFrame) -> None:
    report = measure_drift(reference, described(50, seed=2), SETTINGS)

    above = [found.name for found in report.properties if found.psi > SETTINGS.max_population_stability_index]
    assert (bool(above), report.drifted) == (True, False)


def test_of_many_faces_the_test_alone_would_raise_alarms(reference: pd.DataFrame) -> None:
    many = described(20_000, seed=1)

    report = measure_drift(reference, many.assign(brightness=many["brightness"] + 4), SETTINGS)

    assert report.properties[0].p_value < report.level
    assert not report.drifted


def test_brighter_faces_drift_in_brightness_only(reference: pd.DataFrame) -> None:
    current = described(300, seed=1)

    assert drifted(reference, current.assign(brightness=current["brightness"] + 30)) == ("brightness",)


def test_another_mixture_of_classes_drifts_in_emotion_only(reference: pd.DataFrame) -> None:
    current = described(300, seed=1).assign(emotion=np.repeat(["happy", "sad", "fear"], 100))

    assert drifted(reference, current) == ("emotion",)


def test_a_class_that_the_reference_lacks_is_compared(reference: pd.DataFrame) -> None:
    current = described(300, seed=1)
    current.loc[:149, "emotion"] = "contempt"

    report = measure_drift(reference, current, SETTINGS)

    assert report.drifted_properties == ("emotion",)
    assert (report.properties[4].reference["contempt"], report.properties[4].current["contempt"]) == (0.0, 0.5)


@pytest.mark.parametrize(("size", "found"), [(48.0, ()), (100.0, ("size",)), (47.0, ("size",))])
def test_a_constant_size_drifts_where_it_changes(reference: pd.DataFrame, size: float, found: tuple[str, ...]) -> None:
    report = measure_drift(reference, described(60, seed=1).assign(size=size), SETTINGS)

    assert report.drifted_properties == found
    assert report.properties[3].psi > 5 if found else report.properties[3].psi == 0.0


def test_a_missing_value_leaves_the_face_out_of_that_property_only(reference: pd.DataFrame) -> None:
    current = described(60, seed=1)
    current.loc[:4, ["emotion", "confidence"]] = np.nan

    report = measure_drift(reference, current, SETTINGS)

    assert [found.current_faces for found in report.properties] == [60, 60, 60, 60, 55, 55]
    assert sum(report.properties[4].current.values()) == pytest.approx(1.0)


def test_too_few_faces_name_the_setting_and_the_property(reference: pd.DataFrame) -> None:
    current = described(60, seed=1)
    current.loc[:10, "confidence"] = np.nan

    with pytest.raises(UserError, match=r"monitoring\.min_faces, which is 50.*49 were given of which the confidence"):
        measure_drift(reference, current, SETTINGS)
    with pytest.raises(UserError, match=r"monitoring\.min_faces, which is 50.*0 were given"):
        measure_drift(reference, current[:0], SETTINGS)


def test_the_significance_is_shared_by_the_properties(reference: pd.DataFrame) -> None:
    assert measure_drift(reference, described(60, seed=1), SETTINGS).level == pytest.approx(0.01 / 6)


def test_numbers_are_of_every_property(reference: pd.DataFrame) -> None:
    current = described(300, seed=1)

    numbers = measure_drift(reference, current.assign(size=100.0), SETTINGS).numbers()

    assert set(numbers) == {f"drift/{name}_{kind}" for name in PROPERTIES for kind in ("psi", "p")} | {
        "drift/drifted_properties"
    }
    assert numbers["drift/drifted_properties"] == 1.0


def test_the_report_comes_back_from_its_facts(reference: pd.DataFrame) -> None:
    report = measure_drift(reference, described(300, seed=1), SETTINGS)

    assert DriftReport.from_facts(report.facts(), report.figures) == report


def test_the_page_names_what_drifted_and_needs_nothing_from_elsewhere(
    reference: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision.lifecycle.plots.distributions", distributions)
    current = described(300, seed=1).assign(size=100.0)
    current.loc[:149, "emotion"] = "<script>alert(1)"

    page = measure_drift(reference, current, SETTINGS).page()

    assert "2 of 6 properties drifted: size, emotion" in page
    assert page.count("data:image/png;base64,iVBOR") == 1
    assert "<script" not in page
    assert "http" not in page


def test_the_reference_describes_train_and_validation_and_predicts_validation_only(prepared: FaceSet) -> None:
    held_out = prepared.rows("validation")
    probabilities = np.full((len(held_out), 7), 0.1)
    probabilities[:, 3] = 0.4

    table = reference_table(prepared, probabilities)

    counts = {split: len(prepared.rows(split)) for split in ("train", "validation")}
    assert table["split"].value_counts().to_dict() == counts
    of_train, of_validation = (table[table["split"] == split] for split in counts)
    assert of_train[["emotion", "confidence"]].isna().all(axis=None)
    assert (set(of_validation["emotion"]), set(of_validation["confidence"])) == ({"happy"}, {0.4})
    assert table["exact_hash"].tolist() == prepared.table.query("split != 'test'")["exact_hash"].tolist()


def test_the_reference_leaves_out_what_could_not_be_decoded(prepared: FaceSet) -> None:
    held_out = prepared.rows("validation")
    table = prepared.table.copy()
    table.loc[held_out[0], "error"] = "broken"
    probabilities = np.eye(7)[np.arange(len(held_out)) % 7]

    found = reference_table(replace(prepared, table=table), probabilities)

    kept = found[found["split"] == "validation"]
    names = [prepared.class_names[row % 7] for row in range(1, len(held_out))]
    assert kept["emotion"].tolist() == names


def test_predictions_of_other_faces_are_refused(prepared: FaceSet) -> None:
    with pytest.raises(ValueError, match=r"probabilities have shape \(3, 7\), the validation split asks for"):
        reference_table(prepared, np.full((3, 7), 1 / 7))


def test_a_reference_that_was_stored_says_the_same(prepared: FaceSet, tmp_path: Path, small_settings: Settings) -> None:
    held_out = prepared.rows("validation")
    table = reference_table(prepared, np.random.default_rng(0).dirichlet(np.ones(7), len(held_out)))
    table.to_parquet(tmp_path / "reference.parquet")

    stored = pd.read_parquet(tmp_path / "reference.parquet")

    pd.testing.assert_frame_equal(stored, table)
    lenient = small_settings.monitoring.model_copy(update={"min_faces": 2})
    assert replace(measure_drift(stored, table, lenient), figures={}) == replace(
        measure_drift(table, table, lenient), figures={}
    )


def test_a_reference_without_predictions_is_refused(reference: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="reference has no face of which the emotion is known"):
        measure_drift(reference.assign(emotion=None), described(60, seed=1), SETTINGS)
