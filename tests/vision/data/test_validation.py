import html
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from configs.settings import Settings
from vision.data import plots
from vision.data.checks import CheckResult
from vision.data.faces import FaceSet
from vision.data.ingestion import ingest_faces
from vision.data.preprocessing import DROP_RULES
from vision.data.reasons import is_framed
from vision.data.validation import ValidationReport, validate_faces

BLANK = 1.0  # standard deviation of grey levels


@pytest.fixture(scope="module")
def dirty(
    tmp_path_factory: pytest.TempPathFactory, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> FaceSet:
    """Seven classes in two splits, with one defect of each kind."""
    tmp_path = tmp_path_factory.mktemp("dirty")
    names = dataset_settings(tmp_path).class_names
    for split, count in (("train", 6), ("test", 3)):
        for seed, name in enumerate(names):
            write_faces(tmp_path / split / name, count, seed=seed + 100 * count)
    train, test = tmp_path / "train", tmp_path / "test"
    copy = (train / "happy" / "face0.png").read_bytes()
    (train / "happy" / "repeated.png").write_bytes(copy)
    (test / "happy" / "leaked.png").write_bytes((train / "happy" / "face1.png").read_bytes())
    (train / "sad" / "conflicting.png").write_bytes((train / "fear" / "face2.png").read_bytes())
    cv2.imwrite(str(train / "sad" / "blank.png"), np.full((32, 32), 128, np.uint8))
    cv2.imwrite(str(train / "sad" / "dark.png"), np.eye(32, dtype=np.uint8) * 60)
    cv2.imwrite(str(train / "sad" / "tiny.png"), np.arange(256, dtype=np.uint8).reshape(16, 16))
    (train / "sad" / "broken.png").write_bytes(b"nothing")
    write_faces(train / "bored", 1, seed=7)
    return ingest_faces(dataset_settings(tmp_path), seed=0)


@pytest.fixture(scope="module")
def found(dirty: FaceSet, small_settings: Settings) -> dict[str, CheckResult]:
    return checks(validate_faces(dirty, small_settings.validation, BLANK))


def checks(report: ValidationReport) -> dict[str, CheckResult]:
    return {check.check: check for check in report.checks}


def test_each_defect_is_found_by_its_check_with_its_file(found: dict[str, CheckResult]) -> None:
    assert {name: check.failed for name, check in found.items()} == {
        "decodable": 1, "known_label": 1, "face_found": 0, "framing": 0, "size": 1, "blank": 1, "repeated": 2,
        "leaked": 1, "near_leaked": 0, "conflicting": 2, "brightness": 1, "class_count": 0,
    }  # fmt: skip
    assert found["decodable"].examples == ("train/sad/broken.png",)
    assert found["known_label"].examples == ("train/bored/face0.png",)
    assert found["size"].examples == ("train/sad/tiny.png",)
    assert found["blank"].examples == ("train/sad/blank.png",)
    assert found["repeated"].examples == ("train/happy/repeated.png", "train/sad/conflicting.png")
    assert found["leaked"].examples == ("test/happy/leaked.png",)
    assert set(found["conflicting"].examples) == {"train/fear/face2.png", "train/sad/conflicting.png"}
    assert found["brightness"].examples == ("train/sad/dark.png",)


def test_a_failed_check_says_what_was_found_how_often_and_where(found: dict[str, CheckResult]) -> None:
    unreadable = "ValueError: not an image: the file starts with b'nothing'"
    assert found["decodable"].found == (f"1 x {unreadable} (for example train/sad/broken.png)",)
    assert found["known_label"].found == ("1 x the label 'bored' (for example train/bored/face0.png)",)
    assert found["size"].found == ("1 x 16x16 pixels (for example train/sad/tiny.png)",)
    assert found["brightness"].found == ("1 x mean grey level 2 (for example train/sad/dark.png)",)
    assert found["leaked"].found == ("1 x in test (for example test/happy/leaked.png)",)
    assert found["conflicting"].found == ("2 x fear and sad (for example train/fear/face2.png)",)


def test_what_a_check_counts_is_what_its_reasons_count(found: dict[str, CheckResult]) -> None:
    counted = {name: sum(r.count for r in check.reasons) + check.other_reasons for name, check in found.items()}

    assert counted == {name: check.failed for name, check in found.items()}


def test_the_most_frequent_reasons_come_first_and_the_rest_is_counted(
    drawn: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "suspicious_faces", lambda *arguments: b"")
    table = drawn.table.copy()
    table.loc[:29, "error"] = "ValueError: invalid literal for int() with base 10: '[70,'"
    table.loc[100:107, "error"] = [f"reason {n}" for n in range(8)]

    report = validate_faces(replace(drawn, table=table), small_settings.validation, BLANK)

    check = checks(report)["decodable"]
    assert check.found[0] == (
        f"30 x ValueError: invalid literal for int() with base 10: '[70,' (for example {table['source'][0]})"
    )
    assert (len(check.reasons), check.other_reasons) == (5, 4)
    for shown in (report.table(report.critical), html.unescape(report.page())):
        assert check.found[0] in shown
        assert "4 x something else" in shown


def test_a_check_counts_only_the_images_that_it_is_about(dirty: FaceSet, found: dict[str, CheckResult]) -> None:
    assert found["decodable"].checked == len(dirty)
    assert found["blank"].checked == len(dirty) - 1
    assert found["leaked"].checked == 22


def test_severity_and_allowed_share_decide_what_is_critical(
    dirty: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "suspicious_faces", lambda *arguments: b"")  # seconds
    strict = small_settings.validation.model_copy(
        update={"leaked": small_settings.validation.leaked.model_copy(update={"severity": "critical"})}
    )
    lenient = strict.model_copy(update={"leaked": strict.leaked.model_copy(update={"max_share": 0.5})})

    critical = {check.check for check in validate_faces(dirty, strict, BLANK).critical}

    assert critical == {"decodable", "known_label", "size", "leaked"}
    assert "leaked" not in {check.check for check in validate_faces(dirty, lenient, BLANK).critical}


@pytest.mark.parametrize(
    ("width", "height", "framed"),
    [
        (48, 48, True), (100, 100, True), (224, 224, True), (256, 256, True), (900, 900, True), (100, 125, True),
        (640, 490, False), (562, 762, False), (1920, 1080, False), (2000, 2000, False),
    ],
)  # fmt: skip
def test_whole_photos_are_not_framed_as_faces_are(
    width: int, height: int, framed: bool, drawn: FaceSet, small_settings: Settings
) -> None:
    few = drawn.take(np.arange(3))
    photos = replace(few, table=few.table.assign(width=width, height=height))

    assert is_framed(photos.table, photos.reading, small_settings.validation.framing).tolist() == [framed] * 3
    cut_out = replace(photos, reading={"faces cut out": "3"})
    assert is_framed(cut_out.table, cut_out.reading, small_settings.validation.framing).all()


def test_whole_photos_fail_with_their_sizes_and_with_the_setting_that_cuts_faces_out(
    drawn: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "suspicious_faces", lambda *arguments: b"")
    photos = replace(drawn, table=drawn.table.assign(width=640, height=490))

    check = checks(validate_faces(photos, small_settings.validation, BLANK))["framing"]

    assert (check.passed, check.severity, check.failed) == (False, "critical", 210)
    assert check.found == ("210 x 640x490 pixels (for example drawn/000000)",)
    assert check.way_out.startswith("--dataset.crop_faces true")


def test_pictures_without_a_face_are_counted_by_a_check_of_their_own(
    drawn: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "suspicious_faces", lambda *arguments: b"")
    errors = ["no face found"] * 120 + [""] * 90

    found = checks(validate_faces(replace(drawn, table=drawn.table.assign(error=errors)), small_settings.validation, 1))

    assert (found["face_found"].failed, found["face_found"].checked, found["face_found"].passed) == (120, 210, False)
    assert found["decodable"].failed == 0


def test_a_missing_class_is_named_with_its_split(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any], small_settings: Settings
) -> None:
    write_faces(tmp_path / "train" / "happy", 9)
    faces = ingest_faces(dataset_settings(tmp_path), seed=0)

    check = checks(validate_faces(faces, small_settings.validation, BLANK))["class_count"]

    assert (check.passed, check.severity, check.failed) == (False, "critical", 6)
    assert "train/disgust: 0" in check.examples


def test_drawn_faces_pass_every_check(drawn: FaceSet, small_settings: Settings) -> None:
    report = validate_faces(drawn, small_settings.validation, BLANK)

    assert [check.check for check in report.checks if not check.passed] == []


def test_the_page_needs_nothing_from_elsewhere_and_escapes_names(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any], small_settings: Settings
) -> None:
    write_faces(tmp_path / "train" / "happy", 2)
    (tmp_path / "train" / "happy" / "<script>alert(1)<.png").write_bytes(b"")
    write_faces(tmp_path / "train" / r"$\foo$", 1)  # matplotlib would take it for a formula

    page = validate_faces(ingest_faces(dataset_settings(tmp_path), seed=0), small_settings.validation, BLANK).page()

    assert "&lt;script&gt;alert(1)&lt;.png" in page
    assert "<script" not in page
    assert "http" not in page


def test_a_face_is_blank_below_the_threshold_that_preprocessing_uses(
    dirty: FaceSet, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "suspicious_faces", lambda *arguments: b"")
    threshold = float(dirty.table["standard_deviation"].sort_values().iloc[4])

    blank = checks(validate_faces(dirty, small_settings.validation, threshold))["blank"]

    preprocessing = small_settings.preprocessing.model_copy(update={"blank_standard_deviation": threshold})
    decodable = dirty.table[dirty.decodable]
    assert blank.failed == DROP_RULES["blank"](decodable, preprocessing).sum() > 1
