from collections.abc import Callable
from pathlib import Path
from typing import Any

from vision.data.readers import open_dataset


def test_drawn_faces_are_counted_named_and_unassigned(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    reading = open_dataset(dataset_settings(tmp_path / "nowhere", reader="drawn"), 0)
    first, second, *_ = faces = list(reading.faces)

    assert reading.count == len(faces) == 210
    assert (first.source, second.source, first.split) == ("drawn/000000", "drawn/000001", "unassigned")
    assert first.payload.shape == (32, 32)
