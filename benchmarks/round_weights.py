"""Rounding: a classifier whose weights have fewer significant bits, so that a bundle of it packs smaller.

`python -m benchmarks.round_weights IN.keras OUT.keras` keeps 11 bits, as half precision does. The pipeline that takes
the rounded classifier as `classifier.weights` measures every score of it afterwards.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from vision.model.classifier import load_safely

BITS = 11


def rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float32 numbers rounded to the nearest with BITS significant bits."""
    fractions, exponents = np.frexp(values.astype(np.float64))
    return np.asarray(np.ldexp(np.round(fractions * 2**BITS) / 2**BITS, exponents), dtype=np.float32)


def round_weights(source: Path, target: Path) -> None:
    """Write the classifier of a .keras file with rounded weights."""
    classifier = load_safely(source)
    classifier.set_weights([rounded(values) for values in classifier.get_weights()])
    classifier.save(target)


if __name__ == "__main__":
    round_weights(Path(sys.argv[1]), Path(sys.argv[2]))
