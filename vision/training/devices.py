"""Devices: what computes a training, how precisely, and how repeatably."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

import keras

from configs.errors import UserError
from vision.training.hosts import count_hosts

NATIVE_BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # as Linux names what a processor can do


@contextlib.contextmanager
def use_devices(devices: str) -> Iterator[None]:
    """Compute on `one` device, or data parallel on `all` GPUs (or logical devices, where there is no GPU).

    Models must be built inside. TensorFlow mirrors them (MirroredStrategy), JAX shards the batches
    (keras.distribution); several hosts always compute on all their devices. Raises UserError for all where the backend
    is another.
    """
    backend = keras.backend.backend()
    if devices == "one" and count_hosts() == 1:
        yield
    elif backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        with tf.distribute.MirroredStrategy([device.name for device in found]).scope():
            yield
    elif backend == "jax":
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        raise UserError(f"training.devices all needs the backend tensorflow or jax, KERAS_BACKEND is {backend}")


def make_deterministic(seed: int, operations: bool = True) -> None:
    """Seed Python, NumPy and Keras, and tell TensorFlow, where it computes, whether operations must be repeatable."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() != "tensorflow":
        return
    if operations:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    else:
        from tensorflow.python.framework import config  # what is public can only switch it on

        config.disable_op_determinism()


def clear_session() -> None:
    """Have Keras forget the networks that it was used for, but not whether it shows progress bars of its own."""
    shown = keras.config.is_interactive_logging_enabled()
    keras.utils.clear_session()
    if not shown:
        keras.config.disable_interactive_logging()


def missing_kernels() -> tuple[type[Exception], ...]:
    """Return what the backend raises where an operation has no kernel whose results are repeatable."""
    if keras.backend.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.UnimplementedError,)


def resolve_precision(precision: str) -> str:
    """Return float32 or bfloat16; `auto` is bfloat16 where the processor multiplies it natively."""
    if precision != "auto":
        return precision
    flags = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not flags.is_file():
        return "float32"
    return "bfloat16" if NATIVE_BFLOAT16 & set(flags.read_text(encoding="utf-8").split()) else "float32"
