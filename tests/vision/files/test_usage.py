import threading

import numpy as np
import pytest

from vision.files import usage
from vision.files.usage import measure, resident_bytes


def test_the_peak_is_the_most_memory_that_any_sample_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found, sampled = iter([3_000_000, 5_000_000, 2_000_000]), threading.Event()

    def resident() -> int:
        memory = next(found, None)
        if memory is None:
            sampled.set()
        return memory or 1_000_000

    monkeypatch.setattr(usage, "resident_bytes", resident)
    monkeypatch.setattr(usage, "SAMPLE_SECONDS", 0.001)

    with measure() as measured:
        assert sampled.wait(30)

    assert measured.peak_memory_mb == 5.0
    assert measured.seconds > 0


def test_a_block_that_raises_is_measured_too() -> None:
    with pytest.raises(ValueError, match="on purpose"), measure() as measured:
        raise ValueError("on purpose")

    assert measured.seconds > 0


def test_resident_memory_grows_by_what_is_held() -> None:
    before = resident_bytes()

    held = np.ones(100_000_000, dtype=np.uint8)

    assert resident_bytes() - before > 80_000_000
    assert len(held) == 100_000_000
