from pathlib import Path

import keras
import numpy as np
import pytest

from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import Settings
from vision.model.backbones import widened
from vision.model.classifier import build_classifier


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG-19 without top, with random weights, as Keras saves it."""
    keras.utils.set_random_seed(5)
    path = tmp_path_factory.mktemp("weights") / "vgg19.weights.h5"
    keras.applications.VGG19(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(path)
    return path


def with_weights(settings: Settings, weights: str) -> keras.Model:
    changes = {"weights": weights, "width": 1.0}
    return build_classifier(settings.classifier.model_copy(update=changes), side=32, classes=7)


def test_kernels_of_the_file_are_kept_beside_the_inserted_batch_normalisation(
    weights_file: Path, small_settings: Settings
) -> None:
    source = keras.applications.VGG19(include_top=False, weights=str(weights_file), input_shape=(32, 32, 3))

    classifier = with_weights(small_settings, str(weights_file))

    names = {layer.name for layer in classifier.layers}
    for layer in source.layers:
        if isinstance(layer, keras.layers.Conv2D):
            for given, kept in zip(layer.get_weights(), classifier.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(kept, given)
            assert (f"{layer.name}_bn" in names) == (layer.name[:6] in ("block4", "block5"))


def test_without_batch_normalisation_features_are_those_of_keras_own_vgg19(
    weights_file: Path, small_settings: Settings
) -> None:
    source = keras.applications.VGG19(include_top=False, weights=str(weights_file), input_shape=(32, 32, 3))
    changes = {"weights": str(weights_file), "width": 1.0, "batch_norm_blocks": ()}
    classifier = build_classifier(small_settings.classifier.model_copy(update=changes), side=32, classes=7)
    features = keras.Model(classifier.input, classifier.get_layer("block5_pool").output)
    faces = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)

    ours = keras.ops.convert_to_numpy(features(faces))
    theirs = keras.ops.convert_to_numpy(
        source(keras.applications.vgg19.preprocess_input(np.repeat(faces, 3, axis=-1).copy()))
    )

    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["dense", "vgg16"])
def test_weights_of_another_architecture_are_refused_with_the_way_out(
    architecture: str, tmp_path: Path, small_settings: Settings
) -> None:
    path = tmp_path / "other.weights.h5"
    if architecture == "vgg16":
        keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(path)
    else:
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)

    with pytest.raises(UserError, match=r"other\.weights\.h5 does not fit VGG-19: .*set classifier\.weights"):
        with_weights(small_settings, str(path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.weights.h5", None, "is not a file"),
        ("notes.txt", b"text", r"does not end in \.h5 or \.keras"),
        ("half.weights.h5", b"\x89HDF\r\n\x1a\n and nothing more", "does not fit VGG-19"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(
    name: str, content: bytes | None, said: str, tmp_path: Path, small_settings: Settings
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(UserError, match=said):
        with_weights(small_settings, str(tmp_path / name))


def test_without_a_network_imagenet_weights_name_the_local_file_setting(
    small_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there

    with pytest.raises(UserError, match=r"imagenet could not be downloaded .*set classifier\.weights to the path"):
        with_weights(small_settings, "imagenet")


def test_the_compact_network_has_one_to_two_million_weights_and_starts_from_none_only(small_settings: Settings) -> None:
    compact = small_settings.classifier.model_copy(update={"backbone": "vgg_compact", "width": 1.0})

    assert 1e6 < build_classifier(compact, side=32, classes=7).count_params() < 2e6
    with pytest.raises(UserError, match=r"weights imagenet is not for vgg_compact.*set it to none"):
        build_classifier(compact.model_copy(update={"weights": "imagenet"}), side=32, classes=7)


def test_width_multiplies_the_channels_of_every_convolution(small_settings: Settings) -> None:
    whole, quarter = (
        build_classifier(small_settings.classifier.model_copy(update={"width": width}), side=32, classes=7)
        for width in (1.0, 0.25)
    )

    def channels(classifier: keras.Model) -> list[int]:
        return [layer.filters for layer in classifier.layers if isinstance(layer, keras.layers.Conv2D)]

    assert channels(whole) == [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8
    assert channels(quarter) == [16] * 2 + [32] * 2 + [64] * 4 + [128] * 8


@pytest.mark.parametrize(
    ("channels", "width", "found"),
    [(64, 0.7, 48), (128, 0.7, 96), (256, 0.7, 176), (32, 0.51, 16), (64, 0.05, 3), (64, 0.001, 1), (512, 1.4, 720)],
)
def test_channels_come_in_groups_that_a_processor_computes_at_once(channels: int, width: float, found: int) -> None:
    assert widened(channels, width) == found


@pytest.mark.parametrize("weights", ["imagenet", "vgg19.weights.h5"])
def test_another_width_is_refused_with_weights_of_the_whole_network(weights: str) -> None:
    with pytest.raises(UserError, match=rf"classifier = .*width is 0.25, allowed with the weights {weights}: 1"):
        load_settings([], {"classifier": {"width": 0.25, "weights": weights}})
