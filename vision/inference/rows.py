"""Rows: what the table of predictions says of a picture and its faces."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vision.inference.examine import Examined
from vision.inference.result_table import BLENDED, SEVERAL, THUMBNAIL, TOO_SMALL, UNCERTAIN, WHITE
from vision.inference.summary import UsedModel

Array = np.ndarray[Any, Any]


def picture_rows(
    examined: Sequence[Examined], probabilities: Array, model: UsedModel, threshold: float
) -> list[list[dict[str, Any]]]:
    """Return each picture's rows of the table; `probabilities` are those of all their faces, one after another."""
    remaining = iter(probabilities)
    rows = []
    for picture in examined:
        facts: dict[str, Any] = {"source": picture.source, "model_version": model.version, "error": picture.error}
        facts |= {SEVERAL: picture.several, TOO_SMALL: picture.faces.too_small}
        facts |= {BLENDED: picture.blended, WHITE: picture.white}
        faces = picture.faces
        of_picture = [
            facts
            | {"face": number, "size": size}
            | dict(zip(("x", "y", "width", "height"), box, strict=True))
            | dict(zip(("brightness", "contrast", "sharpness"), levels, strict=True))
            | _answer(next(remaining), model.class_names, threshold)
            for number, (box, size, levels) in enumerate(
                zip(faces.boxes.tolist(), faces.sizes, faces.levels, strict=True)
            )
        ]
        rows.append(of_picture or [facts | {"face": -1, "emotion": "", "most_likely": ""}])
    return rows


def add_thumbnails(rows: Sequence[Sequence[dict[str, Any]]], faces: Array, count: int) -> None:
    """Give `count` rows, evenly chosen, the grey levels of their face; `faces` are (n, side, side) uint8."""
    of_faces = [row for of_picture in rows for row in of_picture if row["face"] >= 0]
    for index in {*np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int).tolist()}:
        of_faces[index][THUMBNAIL] = faces[index].tobytes()


def _answer(probabilities: Array, class_names: Sequence[str], threshold: float) -> dict[str, Any]:
    """Return what a row says of the (classes,) probabilities of a face."""
    confidence, most_likely = float(probabilities.max()), class_names[int(probabilities.argmax())]
    emotion = most_likely if confidence >= threshold else UNCERTAIN
    columns = [f"probability_{name}" for name in class_names]
    answer = {"emotion": emotion, "most_likely": most_likely, "confidence": confidence}
    return answer | dict(zip(columns, probabilities.tolist(), strict=True))
