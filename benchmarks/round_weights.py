"""Rounding: a classifier whose weights have fewer significant bits, so that a bundle or a transfer of it is smaller.

`python -m benchmarks.round_weights IN.keras OUT.keras` keeps 11 bits, as half precision does; with a number of bits
behind, kernels become whole numbers of so many bits, times a power of two for each channel. The pipeline that takes the
rounded classifier as `classifier.weights` measures every score of it afterwards. OUT.keras.xz is packed, with 6-bit
kernels, for a teacher that is sent to another machine; IN.keras.xz is unpacked as it is.
"""

import lzma
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError, told_in_a_sentence
from stack.local_stack import quiet_libraries
from vision.files.atomic import make_parent

BITS = 11
SENT_BITS = 6  # of a kernel that is sent, one of them the sign
PACKED = ".xz"
FOURS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}]  # of bytes

Array = np.ndarray[Any, Any]


def rounded(values: Array) -> Array:
    """Return float32 numbers rounded to the nearest with BITS significant bits."""
    fractions, exponents = np.frexp(values.astype(np.float64))
    return np.asarray(np.ldexp(np.round(fractions * 2**BITS) / 2**BITS, exponents), dtype=np.float32)


def coarse(values: Array, bits: int) -> Array:
    """Return the kernels among float32 numbers as whole multiples of a power of two, which each channel has its own."""
    if values.ndim < 2:
        return rounded(values)
    largest = np.abs(values).max(axis=tuple(range(values.ndim - 1)), keepdims=True)
    step = 2.0 ** (np.ceil(np.log2(np.maximum(largest, 1e-12))) - (bits - 1))
    return np.asarray(np.round(values / step) * step, dtype=np.float32)


def round_weights(source: Path, target: Path, bits: int = 0) -> None:
    """Write the classifier of a .keras file with rounded weights, packed or unpacked where a name ends in .xz.

    Kernels get so many bits, or with 0 as many significant ones as the other weights. Raises UserError.
    """
    if not source.is_file():
        raise UserError(f"{source} does not exist; name the .keras file of a training")
    make_parent(target)
    if source.suffix == PACKED:
        target.write_bytes(lzma.decompress(source.read_bytes()))
        return
    from vision.model.classifier import load_safely

    classifier = load_safely(source)
    bits = bits or (SENT_BITS if target.suffix == PACKED else 0)
    weights = classifier.get_weights()
    classifier.set_weights([coarse(values, bits) if bits else rounded(values) for values in weights])
    if target.suffix != PACKED:
        classifier.save(target)
        return
    with tempfile.TemporaryDirectory() as folder:
        classifier.save(Path(folder) / "rounded.keras")
        target.write_bytes(lzma.compress((Path(folder) / "rounded.keras").read_bytes(), filters=FOURS))


if __name__ == "__main__":
    quiet_libraries(debug=False)
    with told_in_a_sentence():
        if len(sys.argv) not in (3, 4):
            raise UserError("give the file to read, the file to write, and the bits of a kernel if you like")
        round_weights(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
