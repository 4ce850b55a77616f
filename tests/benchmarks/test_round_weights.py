import numpy as np

from benchmarks.round_weights import BITS, rounded


def test_rounded_weights_have_few_significant_bits_and_stay_near() -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float32)

    found = rounded(values)

    np.testing.assert_allclose(found, values, rtol=2.0**-BITS)
    fractions, _ = np.frexp(found.astype(np.float64))
    np.testing.assert_array_equal(fractions * 2**BITS, np.round(fractions * 2**BITS))
