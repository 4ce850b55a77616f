from typing import Any

import pytest

from pipelines import inference
from vision.inference.summary import InferenceReport


def last_lines(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, str]:
    """Return the last lines of a run whose report differs from a plain one by the changes."""
    plain: dict[str, Any] = {
        "name": "photos", "form": "folder", "model_version": "3", "pictures": 9, "faces": 8, "unreadable": 0,
        "without_face": 1, "uncertain": 2, "emotions": {}, "mean_confidence": 0.7, "confidence_threshold": 0.4,
        "annotated": 0, "errors": (), "seconds": 1.0, "faces_per_second": 8.0, "figures": {},
    }  # fmt: skip
    outputs = {
        "inference_report": InferenceReport(**plain | changes),
        "predictions_folder": "out/photos-1234567890",
        "model_uri": "models:/face/3",
    }
    monkeypatch.setattr(inference, "output", lambda finished, step, name: outputs[name])
    return inference.summarize(None)


def test_the_last_lines_say_what_was_passed_over_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = last_lines(monkeypatch, too_small=3, blended=2, white_levels="4095 in 1 picture", ends_early="at 3 s")

    assert [*last_lines(monkeypatch)] == ["model", "pictures", "faces", "predictions", "summary"]
    more = lines.keys() - last_lines(monkeypatch).keys()
    assert more == {"faces too small", "alpha over grey", "white level", "ends early"}
    assert lines["faces too small"].startswith("3 left out")


def test_the_last_lines_say_where_a_result_is_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    said = last_lines(monkeypatch, finished_before="2026-11-28 13:00 UTC")["earlier result"]

    assert said == "of 2026-11-28 13:00 UTC; delete out/photos-1234567890 to predict anew"
