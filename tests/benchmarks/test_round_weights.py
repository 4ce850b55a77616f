import lzma
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.round_weights import BITS, SENT_BITS, coarse, round_weights, rounded
from configs.errors import UserError
from vision.model.classifier import load_safely


def test_rounded_weights_have_few_significant_bits_and_stay_near() -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)

    found = rounded(values)

    np.testing.assert_allclose(found, values, rtol=2.0**-BITS)
    fractions, _ = np.frexp(found.astype(np.float64))
    np.testing.assert_array_equal(fractions * 2**BITS, np.round(fractions * 2**BITS))


def test_coarse_kernels_are_few_whole_multiples_in_each_channel() -> None:
    kernel = np.random.default_rng(0).normal(0, [0.01, 1.0], (3, 3, 8, 2)).astype(np.float32)

    found = coarse(kernel, bits=5)

    for channel in range(2):
        assert len(np.unique(found[..., channel])) <= 2**5 + 1
        largest = np.abs(kernel[..., channel]).max()
        assert np.abs(found - kernel)[..., channel].max() <= largest * 2.0**-4


def test_a_packed_classifier_is_smaller_and_unpacks_to_one_that_loads(tmp_path: Path) -> None:
    faces = keras.Input((4, 4, 1))
    keras.Model(faces, keras.layers.Dense(64)(keras.layers.Flatten()(faces))).save(tmp_path / "a.keras")

    round_weights(tmp_path / "a.keras", tmp_path / "a.keras.xz")
    round_weights(tmp_path / "a.keras.xz", tmp_path / "b.keras")

    before, after = (load_safely(tmp_path / name).get_weights()[0] for name in ("a.keras", "b.keras"))
    np.testing.assert_array_equal(after, coarse(before, SENT_BITS))
    assert (tmp_path / "a.keras.xz").stat().st_size < len(lzma.compress((tmp_path / "a.keras").read_bytes()))


def test_a_missing_classifier_is_told_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.keras does not exist"):
        round_weights(tmp_path / "missing.keras", tmp_path / "new" / "a.keras")

    assert not list(tmp_path.iterdir())
