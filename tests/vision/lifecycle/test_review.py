from collections.abc import Callable
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import pytest

from configs.lifecycle_settings import MonitoringSettings, RetrainingSettings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.lifecycle.drift import reference_table
from vision.lifecycle.review import (
    NOTHING_TO_DO,
    TRAIN_NOW,
    UNDECIDED,
    Review,
    ReviewRules,
    choose_faces,
    find_new_faces,
    measure_new_faces,
    review_drift,
    review_fingerprints,
)

NOW = {"prepared_fingerprint": "d", "settings_fingerprint": "s", "code_fingerprint": "c"}


@dataclass(frozen=True)
class Registered:
    number: str
    tags: dict[str, str] = field(default_factory=lambda: dict(NOW))


def rules(drifted: bool = False, compared: int = 100, min_faces: int = 50) -> ReviewRules:
    return ReviewRules(
        retraining=RetrainingSettings(only_if_drifted=drifted, compared_faces=compared, dry_run=False),
        monitoring=MonitoringSettings(
            bins=10, max_population_stability_index=0.2, significance=0.01, min_faces=min_faces
        ),
        batch_size=64,
        seed=1,
    )


def review(champion: Registered | None, challenger: Registered | None, drifted: bool = False, **now: str) -> Review:
    return review_fingerprints("faces", champion, challenger, {**NOW, **now}, rules(drifted).retraining)


def test_without_a_champion_there_is_one_to_train() -> None:
    assert review(None, None) == Review(TRAIN_NOW, "faces has no champion")


def test_while_nothing_changed_there_is_nothing_to_do() -> None:
    found = review(Registered("3"), None)

    assert found.verdict == NOTHING_TO_DO
    assert "champion version 3" in found.reason


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"settings_fingerprint": "x"}, "settings changed"),
        ({"prepared_fingerprint": "x", "code_fingerprint": "x"}, "data and code changed"),
    ],
)
def test_what_changed_is_trained_for_and_named(now: dict[str, str], changed: str) -> None:
    assert review(Registered("3"), None, **now) == Review(TRAIN_NOW, f"{changed} since champion version 3")


def test_a_version_without_fingerprints_is_another() -> None:
    assert review(Registered("3", {}), None).reason.startswith("data and settings and code changed")


@pytest.mark.parametrize(
    ("tags", "verdict"),
    [
        ({}, TRAIN_NOW),
        ({"decision": "held"}, NOTHING_TO_DO),
        ({"decision": "rejected"}, NOTHING_TO_DO),
        ({"decision": "promoted"}, TRAIN_NOW),  # yet it is not the champion: the run ended between tags and alias
        ({"decision": "promoted", "rolled_back_at": "2026-11-28"}, NOTHING_TO_DO),
    ],
)
def test_what_the_gate_has_decided_on_is_not_trained_again(tags: dict[str, str], verdict: str) -> None:
    newer = {**NOW, "code_fingerprint": "newer"}

    found = review(Registered("3"), Registered("4", {**newer, **tags}), code_fingerprint="newer")

    assert found.verdict == verdict
    assert "which the gate has" in found.reason or verdict == TRAIN_NOW


def test_changed_data_alone_leave_it_to_the_new_faces_where_drift_is_asked_for() -> None:
    assert review(Registered("3"), None, drifted=True, prepared_fingerprint="x").verdict == UNDECIDED
    assert review(Registered("3"), None, drifted=False, prepared_fingerprint="x").verdict == TRAIN_NOW
    both = review(Registered("3"), None, drifted=True, prepared_fingerprint="x", code_fingerprint="x")
    assert both.verdict == TRAIN_NOW


@pytest.fixture(scope="module")
def reference(prepared: FaceSet) -> object:
    return reference_table(prepared, np.eye(7)[np.arange(len(prepared.rows(VALIDATION))) % 7])


@pytest.fixture(scope="module")
def brighter(prepared: FaceSet) -> Callable[[int], FaceSet]:
    """Return a function that gives the faces again, `by` grey levels brighter, so that all are new."""

    def change(by: int) -> FaceSet:
        images = np.clip(prepared.images.astype(int) + by, 0, 255).astype(np.uint8)
        table = prepared.table.assign(exact_hash="new " + prepared.table["exact_hash"])
        return replace(prepared, images=images, table=table)

    return change


def test_new_faces_are_those_of_training_and_validation_that_the_champion_did_not_have(
    prepared: FaceSet, reference: object, brighter: Callable[[int], FaceSet]
) -> None:
    learnt = sorted([*prepared.rows(TRAIN), *prepared.rows(VALIDATION)])

    assert find_new_faces(prepared, reference).tolist() == []
    assert find_new_faces(brighter(0), reference).tolist() == learnt


def test_a_sample_is_compared_where_there_are_many_and_none_where_there_are_few() -> None:
    new = np.arange(1000, 1300)

    chosen = choose_faces(new, rules(compared=100))

    assert len(chosen) == 100
    assert chosen.tolist() == sorted({*chosen.tolist()} & {*new.tolist()})
    assert choose_faces(new[:49], rules()).tolist() == []
    assert choose_faces(new[:50], rules()).tolist() == new[:50].tolist()


@dataclass(frozen=True)
class Loaded:
    classifier: keras.Model
    class_names: tuple[str, ...]
    version: str = "3"
    megabytes: float = 1.0


def test_the_drift_of_new_faces_decides(
    prepared: FaceSet, reference: object, brighter: Callable[[int], FaceSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision.lifecycle.plots.distributions", lambda *_: b"")
    inputs = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = Loaded(keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(pooled)), prepared.class_names)
    faces = brighter(70)
    new = find_new_faces(faces, reference)

    drift = measure_new_faces(model, reference, faces.take(new), rules())
    found = review_drift(Registered("3"), new, drift, rules().monitoring)

    assert "brightness" in drift.drifted_properties
    assert found.verdict == TRAIN_NOW
    assert found.reason.startswith(f"{len(new)} faces are new to champion version 3, and brightness")


def test_too_few_new_faces_are_nothing_to_train_for() -> None:
    found = review_drift(Registered("3"), np.arange(4), None, rules().monitoring)

    assert found.verdict == NOTHING_TO_DO
    assert "4 faces are new to champion version 3, fewer than monitoring.min_faces, which is 50" in found.reason
