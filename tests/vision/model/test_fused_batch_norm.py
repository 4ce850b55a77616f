import keras
import numpy as np
import pytest

from vision.model.fused_batch_norm import FusedBatchNormalization, fuse_batch_norm

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the fused kernel is TensorFlow's")


def small_network(dtype: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, name="first", dtype=dtype)(images)
    x = keras.layers.BatchNormalization(momentum=0.9, name="normalised", dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(keras.layers.ReLU(dtype=dtype)(x))
    x = keras.layers.BatchNormalization(name="of_vectors", dtype=dtype)(x)
    return keras.Model(images, keras.layers.Dense(3, dtype="float32")(x))


def learn(network: keras.Model, steps: int) -> list[float]:
    random = np.random.default_rng(0)
    network.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    losses = []
    for _ in range(steps):
        images, wanted = random.normal(3.0, 2.0, (5, 8, 8, 1)), random.normal(size=(5, 3))
        losses.append(float(network.train_on_batch(images.astype("float32"), wanted.astype("float32"))))
    return losses


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_the_fused_network_learns_what_kerass_learns(dtype: str, tolerance: float) -> None:
    network = small_network(dtype)
    fused = fuse_batch_norm(network)

    assert isinstance(fused.get_layer("normalised"), FusedBatchNormalization)
    assert learn(fused, 10) == pytest.approx(learn(network, 10), rel=tolerance)
    # both the learned weights and the moving statistics, in the order of Keras's own
    for mine, its in zip(fused.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=tolerance, atol=tolerance)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    fused = fuse_batch_norm(small_network("float32"))
    fused.get_layer("normalised").trainable = False
    before = fused.get_layer("normalised").get_weights()

    learn(fused, 2)

    for mine, its in zip(fused.get_layer("normalised").get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, its)
