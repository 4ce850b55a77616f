from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from configs.inference_settings import InferenceSettings
from configs.settings import Settings
from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.inference import job
from vision.inference.pictures import Pictures


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing, which takes longer than all the rest, where it is not what is tested."""
    for name in ("plots.emotion_counts", "plots.confidence_histogram", "summary.labelled_faces"):
        monkeypatch.setattr(f"vision.inference.{name}", lambda *_: b"a figure")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "CROPS_A_PART", 4)
    monkeypatch.setattr(job, "PHOTOS_A_PART", 2)


@pytest.fixture
def write_photos() -> Callable[..., Path]:
    """Return a function that writes photos 0.png ... with as many drawn faces side by side as each number says."""

    def write(folder: Path, *counts: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, count in enumerate(counts):
            picture = np.full((200, 440, 3), 90, dtype=np.uint8)
            for place in range(count):
                face = draw_face(EXPRESSIONS["happy"], 160, 2.0, np.random.default_rng([0, place]))
                picture[20:180, 30 + 220 * place : 190 + 220 * place] = face[..., None] - number % 2
            cv2.imwrite(str(folder / f"{number}.png"), picture)
        return folder

    return write


@pytest.fixture
def named(small_settings: Settings, tmp_path: Path) -> Callable[..., InferenceSettings]:
    """Return a function that makes settings with an input, and whatever else is changed."""

    def change(given: Path | str, **changes: Any) -> InferenceSettings:
        output = tmp_path / "predictions"
        return small_settings.inference.model_copy(update={"input": str(given), "output": output, **changes})

    return change


def sources(pictures: Pictures) -> list[str]:
    return [picture.source for picture in pictures.read(0, pictures.count)]
