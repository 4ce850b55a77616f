from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.training.batches import ClassBalance, Examples, FaceBatches


def test_oversampling_shows_rare_classes_as_often_as_others(prepared: FaceSet) -> None:
    counts = np.bincount(prepared.labels[prepared.rows(TRAIN)], minlength=7)
    weights = counts.sum() / (7 * counts)

    batches = FaceBatches(
        Examples(prepared, TRAIN), 32, np.random.default_rng(0), ClassBalance(weights, oversample=True)
    )
    shown = sum(batches[position][1].sum(axis=0) for position in range(len(batches)))

    assert counts.max() / counts.min() > 10
    assert shown.max() / shown.min() < 4


def test_class_weights_reach_the_loss_as_sample_weights(prepared: FaceSet) -> None:
    batches = FaceBatches(Examples(prepared, TRAIN), 16, None, ClassBalance(np.arange(1.0, 8.0)))

    inputs, labels, weights = batches[0]

    np.testing.assert_array_equal(weights, labels.argmax(axis=1) + 1)
    assert (inputs["images"].shape, inputs["images"].dtype) == ((16, 32, 32, 1), np.float32)


def test_an_epoch_shows_every_training_face_once_in_a_new_order(prepared: FaceSet) -> None:
    batches = FaceBatches(Examples(prepared, TRAIN), 32, np.random.default_rng(0))
    first = batches.order.copy()

    batches.on_epoch_end()

    assert sorted(batches.order) == sorted(first) == list(range(len(prepared.rows(TRAIN))))
    assert batches.order.tolist() != first.tolist()


def test_shuffled_batches_are_all_whole_and_those_in_order_show_every_face(prepared: FaceSet) -> None:
    shuffled = FaceBatches(Examples(prepared, TRAIN), 32, np.random.default_rng(0))
    ordered = FaceBatches(Examples(prepared, VALIDATION), 32)

    assert {len(shuffled[position][1]) for position in range(len(shuffled))} == {32}
    assert sum(len(ordered[position][1]) for position in range(len(ordered))) == len(prepared.rows(VALIDATION))


def test_features_stand_in_for_images_with_another_view_of_a_face_in_each_epoch(prepared: FaceSet) -> None:
    count = len(prepared.rows(TRAIN))
    # a feature says which view of which face it is
    features = np.stack([np.stack([np.full(count, view), np.arange(count)], axis=1) for view in range(3)])
    batches = FaceBatches(Examples(prepared, TRAIN, features), 16, np.random.default_rng(0))

    seen = []
    for _ in range(2):
        inputs = np.concatenate([batches[position][0]["images"] for position in range(len(batches))])
        labels = np.concatenate([batches[position][1] for position in range(len(batches))]).argmax(axis=1)
        np.testing.assert_array_equal(labels, prepared.labels[prepared.rows(TRAIN)][inputs[:, 1].astype(int)])
        seen.append(dict(zip(inputs[:, 1], inputs[:, 0], strict=True)))
        batches.on_epoch_end()

    assert set(seen[0].values()) == {0, 1, 2}
    assert any(view != seen[1].get(face, view) for face, view in seen[0].items())


def test_a_teachers_probabilities_have_a_key_of_their_own_in_the_inputs(prepared: FaceSet) -> None:
    soft = np.random.default_rng(0).dirichlet(np.ones(7), len(prepared.rows(TRAIN))).astype(np.float32)

    inputs, labels, _ = FaceBatches(Examples(prepared, TRAIN, teacher=soft), 8)[0]

    np.testing.assert_array_equal(inputs["teacher"], soft[:8])
    np.testing.assert_array_equal(inputs["labels"], labels)
    assert "teacher" not in FaceBatches(Examples(prepared, TRAIN), 8)[0][0]


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("as_features", [True, False])
def test_what_lies_on_disk_is_read_ahead_without_a_change(
    prepared: FaceSet, tmp_path: Path, shuffled: bool, as_features: bool
) -> None:
    images = prepared.images[prepared.rows(TRAIN)][None] if as_features else prepared.images
    np.save(tmp_path / "array.npy", images)
    seen = []
    for array in (images, np.load(tmp_path / "array.npy", mmap_mode="r")):
        faces, features = (prepared, array) if as_features else (replace(prepared, images=array), None)
        shuffle = np.random.default_rng(0) if shuffled else None
        batches = FaceBatches(Examples(faces, TRAIN, features), 16, shuffle)
        seen.append(np.concatenate([batches[position][0]["images"] for position in range(len(batches))]))

    assert len(seen[0]) > 100
    np.testing.assert_array_equal(*seen)
