from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from vision.data import plots
from vision.data.checks import CheckResult
from vision.data.faces import FaceSet


def picture(encoded: bytes) -> np.ndarray[Any, Any]:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)


def check(name: str, *examples: str) -> CheckResult:
    failed = len(examples)
    return CheckResult(name, "?", "", "warning", not failed, 9, failed, "none", examples)


def test_faces_by_rule_shows_other_bars_when_a_rule_drops_more() -> None:
    before = {"train": 90, "test": 10}

    one, other = (picture(plots.faces_by_rule(before, {"leaked": {"train": left, "test": 10}})) for left in (80, 40))

    assert one.shape == other.shape
    assert (one != other).any()


def test_suspicious_faces_have_a_row_for_each_check_that_failed(drawn: FaceSet) -> None:
    few = drawn.take(np.arange(3))
    sources = few.table["source"].tolist()

    one = picture(plots.suspicious_faces(few, [check("blank", *sources), check("size")]))
    two = picture(plots.suspicious_faces(few, [check("blank", *sources), check("size", sources[0])]))

    assert 1.8 < two.shape[0] / one.shape[0] < 2.2


def test_a_failed_check_on_other_things_than_images_has_no_row(drawn: FaceSet) -> None:
    few = drawn.take(np.arange(3))

    none = plots.suspicious_faces(few, [])

    assert plots.suspicious_faces(few, [check("class_count", "train/sad: 0")]) == none


def test_sample_faces_have_a_row_for_each_class(drawn: FaceSet) -> None:
    seven = picture(plots.sample_faces(drawn, 2, seed=0))
    three = picture(plots.sample_faces(replace(drawn, class_names=drawn.class_names[:3]), 2, seed=0))

    assert 2.0 < seven.shape[0] / three.shape[0] < 2.7
