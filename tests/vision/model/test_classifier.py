from pathlib import Path

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.decoding import resize_face
from vision.model.classifier import build_classifier, predict, set_trainable, settle_batch_norm, with_temperature


@pytest.fixture(scope="module")
def classifier(small_settings: Settings) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_classifier(small_settings.classifier, side=32, classes=7)


@pytest.fixture
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)


def test_faces_of_another_size_are_resized_inside_the_model(classifier: keras.Model, faces: np.ndarray) -> None:
    photos = np.random.default_rng(1).integers(0, 256, (2, 200, 200), dtype=np.uint8)
    resize = keras.Model(classifier.input, classifier.get_layer("resize").output)

    assert predict(classifier, photos, batch_size=2).shape == (2, 7)
    np.testing.assert_array_equal(predict(resize, faces, 5)[..., 0], faces)
    # shrinking averages areas, as preprocessing does, instead of picking single pixels of noise
    averaged = np.stack([resize_face(photo, 32) for photo in photos])
    assert np.abs(predict(resize, photos, 2)[..., 0] - averaged).mean() < 10


def test_the_batch_size_does_not_change_predictions(classifier: keras.Model, faces: np.ndarray) -> None:
    np.testing.assert_allclose(predict(classifier, faces, 2), predict(classifier, faces, 5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parts", "trained"),
    [
        (("head",), {"head"}),
        (("head", "block5"), {"head", "block5"}),
        (("all",), {"head", "block1", "block2", "block3", "block4", "block5"}),
    ],
)
def test_a_phase_trains_exactly_the_named_parts(
    parts: tuple[str, ...], trained: set[str], classifier: keras.Model
) -> None:
    set_trainable(classifier, parts)

    assert {weight.path.split("_")[0] for weight in classifier.trainable_weights} == trained


def test_temperature_divides_the_logits_before_softmax(classifier: keras.Model, faces: np.ndarray) -> None:
    logits = predict(classifier, faces, 5)

    probabilities = predict(with_temperature(classifier, 2.0), faces, 5)

    expected = np.exp(logits / 2.0) / np.exp(logits / 2.0).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)


def test_the_saved_model_loads_in_safe_mode_and_predicts_the_same(
    classifier: keras.Model, faces: np.ndarray, tmp_path: Path
) -> None:
    model = with_temperature(classifier, 1.5)
    model.save(tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)

    np.testing.assert_allclose(predict(loaded, faces, 5), predict(model, faces, 5), rtol=1e-5)


@pytest.mark.parametrize("pooling", ["average", "max", "flatten"])
def test_each_pooling_and_head_builds(pooling: str, small_settings: Settings, faces: np.ndarray) -> None:
    settings = small_settings.classifier.model_copy(
        update={"pooling": pooling, "head_batch_norm": False, "dense_units": (), "batch_norm_blocks": ()}
    )

    assert predict(build_classifier(settings, side=32, classes=3), faces, 5).shape == (5, 3)


def test_the_network_sees_the_middle_of_a_face(small_settings: Settings) -> None:
    settings = small_settings.classifier.model_copy(update={"crop_size": 32, "backbone": "vgg_compact"})
    classifier = build_classifier(settings, side=37, classes=7)
    faces = np.random.default_rng(0).integers(0, 256, (3, 37, 37), dtype=np.uint8)
    other_edges = np.pad(faces[:, 2:34, 2:34], ((0, 0), (2, 3), (2, 3)))

    np.testing.assert_array_equal(predict(classifier, faces, 3), predict(classifier, other_edges, 3))


def test_a_part_that_the_backbone_lacks_is_named(small_settings: Settings) -> None:
    settings = small_settings.classifier.model_copy(update={"backbone": "vgg_compact"})

    with pytest.raises(
        UserError, match=r"trainable block5 is not a part .* it has all, block1, block2, block3, block4"
    ):
        set_trainable(build_classifier(settings, side=32, classes=7), ("head", "block5"))


@pytest.mark.parametrize("blocks", [(1, 2, 3, 4, 5), (4, 5), (2,)])
def test_settled_batch_normalisation_changes_features_by_one_factor_only(
    blocks: tuple[int, ...], small_settings: Settings, faces: np.ndarray
) -> None:
    keras.utils.set_random_seed(0)
    plain = build_classifier(small_settings.classifier.model_copy(update={"batch_norm_blocks": ()}), 32, 7)
    inserted = build_classifier(small_settings.classifier.model_copy(update={"batch_norm_blocks": blocks}), 32, 7)
    for layer in plain.layers:
        if isinstance(layer, keras.layers.Conv2D):
            biased = [layer.get_weights()[0], np.random.default_rng(0).normal(size=layer.filters)]
            layer.set_weights(biased)
            inserted.get_layer(layer.name).set_weights(biased)

    settle_batch_norm(inserted, faces)

    before, after = (
        predict(keras.Model(model.input, model.get_layer("block5_pool").output), faces, 5)
        for model in (plain, inserted)
    )
    factor = before.max() / after.max()
    np.testing.assert_allclose(after * factor, before, rtol=2e-3, atol=1e-4 * before.max())


def test_a_saved_classifiers_weights_are_taken_over_whole(
    small_settings: Settings, faces: np.ndarray, tmp_path: Path
) -> None:
    settings = small_settings.classifier.model_copy(update={"backbone": "vgg_compact"})
    saved = build_classifier(settings, side=32, classes=7)
    with_temperature(saved, 2.0).save(tmp_path / "saved.keras")

    loaded = build_classifier(settings.model_copy(update={"weights": str(tmp_path / "saved.keras")}), 32, 7)

    np.testing.assert_array_equal(predict(loaded, faces, 5), predict(saved, faces, 5))


def test_a_saved_classifier_of_another_form_is_refused_with_the_layer_that_differs(
    small_settings: Settings, tmp_path: Path
) -> None:
    settings = small_settings.classifier.model_copy(update={"backbone": "vgg_compact"})
    build_classifier(settings, side=32, classes=5).save(tmp_path / "five.keras")
    (tmp_path / "half.keras").write_bytes(b"PK and nothing more")

    for name, said in (("five", "at the layer head_logits"), ("half", "is not a classifier that can be loaded")):
        with pytest.raises(UserError, match=said):
            build_classifier(settings.model_copy(update={"weights": str(tmp_path / f"{name}.keras")}), 32, 7)
