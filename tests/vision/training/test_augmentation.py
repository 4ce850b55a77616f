import keras
import numpy as np
import pytest
from scipy.stats import beta, kstest

from configs.settings import Settings
from configs.training_settings import AugmentationSettings
from vision.data.faces import FaceSet
from vision.training.augmentation import AUGMENTATIONS, apply, augment, build_augmentation, preview_faces

AMOUNTS = {
    "flip": True, "rotation_degrees": 20.0, "shift": 0.2, "zoom": 0.2, "random_crop": True, "brightness": 0.3,
    "contrast": 0.5, "erasing": 1.0, "mixup": 0.5,
}  # fmt: skip


@pytest.fixture
def off(small_settings: Settings) -> AugmentationSettings:
    return small_settings.augmentation.model_copy(update=dict.fromkeys(AUGMENTATIONS, 0))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation_changes_faces_and_keeps_their_form(
    name: str, off: AugmentationSettings, prepared: FaceSet
) -> None:
    originals = np.asarray(prepared.images[:16])

    changed = augment(originals, build_augmentation(off.model_copy(update={name: AMOUNTS[name]}), 32, 24, seed=1))

    assert (changed.shape, changed.dtype) == (originals.shape, np.uint8)
    assert not np.array_equal(changed, originals)


def test_switched_off_augmentation_has_no_layers(off: AugmentationSettings) -> None:
    assert build_augmentation(off, 32, 24, seed=1) == []


def test_a_flip_is_a_mirror_image(off: AugmentationSettings, prepared: FaceSet) -> None:
    originals = np.asarray(prepared.images[:16])

    changed = augment(originals, build_augmentation(off.model_copy(update={"flip": True}), 32, 24, seed=1))

    mirrored = [np.array_equal(new, old[:, ::-1]) for new, old in zip(changed, originals, strict=True)]
    same = [np.array_equal(new, old) for new, old in zip(changed, originals, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 16


def test_a_random_crop_is_a_cut_of_whole_pixels_at_another_place_in_each_image(off: AugmentationSettings) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    faces = np.tile(levels, (64, 1, 1))
    middle = slice(2, 30)

    changed = augment(faces, build_augmentation(off.model_copy(update={"random_crop": True}), 32, 28, seed=1))

    crops = {
        (down, right): levels[down : down + 28, right : right + 28].tobytes() for down in range(5) for right in range(5)
    }
    found = [
        next(place for place, crop in crops.items() if crop == image[middle, middle].tobytes()) for image in changed
    ]
    assert len(set(found)) > 15
    assert {down for down, _ in found} == {right for _, right in found} == {0, 1, 2, 3, 4}


def test_mixup_mixes_labels_as_it_mixes_images(off: AugmentationSettings) -> None:
    (layer,) = build_augmentation(off.model_copy(update={"mixup": 1.0}), 32, 24, seed=1)
    labels = np.eye(8, dtype=np.float32)
    # each image's level is a hundred times its class, so that the mixture can be read from the pixels
    images = (np.arange(8, dtype=np.float32) * 100)[:, None, None, None] * np.ones((1, 32, 32, 1), np.float32)

    mixed = layer({"images": images, "labels": labels}, training=True)

    levels = keras.ops.convert_to_numpy(mixed["images"])[:, 0, 0, 0]
    weights = keras.ops.convert_to_numpy(mixed["labels"])
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(levels, weights @ np.arange(8) * 100, rtol=1e-3)
    assert (weights.max(axis=1) < 0.99).any()


def test_mixup_draws_how_much_from_the_beta_distribution(off: AugmentationSettings) -> None:
    (layer,) = build_augmentation(off.model_copy(update={"mixup": 0.2}), 32, 24, seed=1)

    drawn = layer.get_random_transformation({"images": np.zeros((20_000, 1, 1, 1), np.float32)})

    weights = keras.ops.convert_to_numpy(drawn["mix_weight"])
    assert kstest(weights, beta(0.2, 0.2).cdf).statistic < 0.03
    assert sorted(keras.ops.convert_to_numpy(drawn["permutation_order"])) == list(range(20_000))


@pytest.mark.parametrize("as_features", [False, True])
def test_mixup_mixes_a_teachers_probabilities_as_the_labels(off: AugmentationSettings, as_features: bool) -> None:
    layers = build_augmentation(off.model_copy(update={"mixup": 1.0}), 32, 24, seed=1)
    labels = np.eye(8, dtype=np.float32)
    images = labels if as_features else labels[:, None, None, :]  # features after pooling have neither rows nor columns

    changed = {
        name: keras.ops.convert_to_numpy(values)
        for name, values in apply(layers, {"images": images, "labels": labels, "teacher": 2 * labels}).items()
    }

    np.testing.assert_allclose(changed["images"].reshape(8, 8), changed["labels"], rtol=1e-5)
    np.testing.assert_allclose(changed["teacher"], 2 * changed["labels"], rtol=1e-5)
    assert (changed["labels"].max(axis=1) < 0.99).any()


def test_under_jax_every_layer_is_compiled(off: AugmentationSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = off.model_copy(update={"rotation_degrees": 20.0})
    assert not any(layer.supports_jit for layer in build_augmentation(turned, 32, 24, seed=1))

    monkeypatch.setattr("keras.backend.backend", lambda: "jax")

    assert all(layer.supports_jit for layer in build_augmentation(turned, 32, 24, seed=1))


def test_the_preview_says_what_is_switched_on(prepared: FaceSet, off: AugmentationSettings) -> None:
    report = preview_faces(prepared, off.model_copy(update={"zoom": 0.1}), 24, seed=0)

    assert {name for name, amount in report.settings.items() if amount} == {"zoom"}
