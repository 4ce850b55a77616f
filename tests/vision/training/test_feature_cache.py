from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.model.classifier import BFLOAT16, build_classifier, predict, set_trainable
from vision.training.feature_cache import FeatureStore, Views, cache_features, split_classifier


@pytest.fixture(scope="module")
def classifier(small_settings: Settings) -> keras.Model:
    keras.utils.set_random_seed(0)
    compact = small_settings.classifier.model_copy(update={"backbone": "vgg_compact"})
    return build_classifier(compact, side=32, classes=7)


@pytest.fixture
def cut(classifier: keras.Model) -> tuple[keras.Model, keras.Model]:
    set_trainable(classifier, ("head", "block3", "block4"))
    found = split_classifier(classifier)
    assert found is not None
    return found


@pytest.fixture
def faces(prepared: FaceSet) -> FaceSet:
    return prepared.take(np.concatenate([prepared.rows(TRAIN)[:40], prepared.rows(VALIDATION)[:16]]))


def cache(beginning: keras.Model, faces: FaceSet, settings: Settings, folder: Path, views: int = 2, **changes: float):  # type: ignore[no-untyped-def]
    augmentation = settings.augmentation.model_copy(update=changes)
    return cache_features(beginning, faces, Views(augmentation, 0, 1, views), FeatureStore(folder, 1.0))


def test_the_rest_on_kept_features_predicts_what_the_whole_classifier_does(
    cut: tuple[keras.Model, keras.Model],
    classifier: keras.Model,
    faces: FaceSet,
    small_settings: Settings,
    tmp_path: Path,
) -> None:
    beginning, rest = cut

    features = cache(beginning, faces, small_settings, tmp_path)
    kept = keras.ops.convert_to_numpy(rest.predict_on_batch(np.asarray(features.validation[0], dtype=np.float32)))

    whole = predict(classifier, faces.images[faces.rows(VALIDATION)], 32)
    np.testing.assert_allclose(kept, whole, rtol=1e-2, atol=1e-3)
    assert features.training.shape[:2] == (2, len(faces.rows(TRAIN)))
    assert features.training.dtype == np.float16
    assert isinstance(features.training, np.memmap)


def test_training_the_rest_trains_the_classifier(cut: tuple[keras.Model, keras.Model], classifier: keras.Model) -> None:
    _, rest = cut
    before = classifier.get_layer("block3_conv1").get_weights()[0].copy()
    rest.compile("sgd", "mse")

    inputs = np.random.default_rng(0).normal(size=(4, *rest.input_shape[1:])).astype(np.float32)
    rest.train_on_batch(inputs, np.ones((4, 7), np.float32))

    assert np.abs(classifier.get_layer("block3_conv1").get_weights()[0] - before).max() > 0


def test_views_differ_by_augmentation_and_without_it_are_alike(
    cut: tuple[keras.Model, keras.Model], faces: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    turned = cache(cut[0], faces, small_settings, tmp_path, rotation_degrees=20.0).training
    still = cache(cut[0], faces, small_settings, tmp_path, rotation_degrees=0.0, flip=False).training

    assert np.abs(turned[0].astype(np.float32) - turned[1]).max() > 1e-3
    np.testing.assert_array_equal(still[0], still[1])


def test_features_are_computed_again_only_for_other_faces_weights_or_augmentation(
    cut: tuple[keras.Model, keras.Model], faces: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    beginning, _ = cut

    def folders() -> int:
        return len(list(tmp_path.iterdir()))

    cache(beginning, faces, small_settings, tmp_path)
    cache(beginning, faces, small_settings, tmp_path, mixup=0.5)  # is not applied to kept features
    assert folders() == 1
    cache(beginning, faces, small_settings, tmp_path, zoom=0.1)
    assert folders() == 2
    cache(beginning, faces.take(np.arange(len(faces))[::-1]), small_settings, tmp_path)
    assert folders() == 3
    darker = replace(faces, images=faces.images // 2)  # such as after another dataset.image_size
    cache(beginning, darker, small_settings, tmp_path)
    assert folders() == 4
    first = beginning.get_layer("block1_conv1")
    kernel, bias = first.get_weights()
    first.set_weights([kernel, bias + 1])
    cache(beginning, faces, small_settings, tmp_path)
    first.set_weights([kernel, bias])

    assert folders() == 5


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda file: file.unlink(), id="deleted"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-1]), id="cut off"),
        pytest.param(lambda file: file.write_bytes(b""), id="emptied"),
    ],
)
def test_features_that_have_lost_a_file_are_computed_again(
    lose: Callable[[Path], object],
    cut: tuple[keras.Model, keras.Model],
    faces: FaceSet,
    small_settings: Settings,
    tmp_path: Path,
) -> None:
    whole = np.array(cache(cut[0], faces, small_settings, tmp_path).validation)
    (folder,) = tmp_path.iterdir()
    lose(folder / "validation.npy")

    again = cache(cut[0], faces, small_settings, tmp_path).validation

    np.testing.assert_array_equal(again, whole)


def test_the_oldest_features_go_where_the_allowed_size_is_exceeded(
    cut: tuple[keras.Model, keras.Model], faces: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    cache(cut[0], faces, small_settings, tmp_path)
    (first,) = tmp_path.iterdir()
    size = sum(file.stat().st_size for file in first.iterdir())
    other = small_settings.augmentation.model_copy(update={"zoom": 0.1})

    cache_features(cut[0], faces, Views(other, 0, 1, 2), FeatureStore(tmp_path, 1.5 * size / 1e9))

    assert len(list(tmp_path.iterdir())) == 1
    assert not first.exists()


def test_more_features_than_are_allowed_are_refused_with_the_way_out(
    cut: tuple[keras.Model, keras.Model], faces: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    views, store = Views(small_settings.augmentation, 0, 1, 1000), FeatureStore(tmp_path, 1e-6)

    with pytest.raises(UserError, match=r"cached_views 1000 needs .* GB .*cache_gigabytes allows .*; lower it"):
        cache_features(cut[0], faces, views, store)


def test_features_too_large_for_half_precision_become_its_largest_number(
    faces: FaceSet, small_settings: Settings, tmp_path: Path
) -> None:
    pixels = keras.Input((32, 32, 1))
    layer = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(1e4))

    features = cache(keras.Model(pixels, layer(pixels)), faces, small_settings, tmp_path)

    assert np.isfinite(features.training).all()
    assert features.training.max() == np.finfo(np.float16).max


def test_nothing_is_cut_where_everything_learns(small_settings: Settings) -> None:
    classifier = build_classifier(small_settings.classifier, side=32, classes=7, dtype=BFLOAT16)

    set_trainable(classifier, ("all",))

    assert split_classifier(classifier) is None
