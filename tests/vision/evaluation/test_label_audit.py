import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vision.data.faces import TRAIN, VALIDATION, FaceSet
from vision.data.relabelling import Verdict, read_verdicts
from vision.evaluation import label_audit
from vision.evaluation.label_audit import LabelAuditReport, audit_labels, review_page, write_table

NAMES = ("happy", "sad", "angry")
WRONG = 6  # of 120 labels; two faces come from validation and are not audited


@pytest.fixture
def faces() -> FaceSet:
    """120 training faces whose grey level is their true class, of which six happy ones are called sad."""
    true = np.repeat([0, 1, 2], 40)
    given = true.copy()
    given[:WRONG] = 1
    table = pd.DataFrame({"label": [NAMES[code] for code in given], "split": TRAIN})
    held_out = pd.DataFrame({"label": ["happy", "sad"], "split": VALIDATION})
    table = pd.concat([held_out, table], ignore_index=True)
    table["source"] = [f"train/{number:03d}.png" for number in range(len(table))]
    images = np.zeros((len(table), 8, 8), np.uint8)
    return FaceSet("made up", "folder", NAMES, images, table)


@pytest.fixture
def probabilities() -> np.ndarray:
    """Answers that are sure of the true class, in each class a little less sure from face to face."""
    sure = np.tile(np.linspace(0.95, 0.8, 40), 3)
    answers = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    answers[np.arange(120), np.repeat([0, 1, 2], 40)] = sure
    return answers


@pytest.fixture
def audited(
    faces: FaceSet, probabilities: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> tuple[LabelAuditReport, pd.DataFrame]:
    monkeypatch.setattr(label_audit.plots, "label_joint", lambda *given: b"")
    monkeypatch.setattr(label_audit, "labelled_faces", lambda *given: b"")
    return audit_labels(faces, probabilities, folds=5)


def test_wrong_labels_are_found_with_what_they_probably_are(audited: tuple[LabelAuditReport, pd.DataFrame]) -> None:
    report, table = audited

    assert sorted(table["file"]) == [f"train/{number:03d}.png" for number in range(2, 2 + WRONG)]
    assert set(table["given"]) == {"sad"}
    assert set(table["likely"]) == {"happy"}
    assert report.doubtful == WRONG
    assert report.accuracy == pytest.approx(1 - WRONG / 120)


def test_the_surest_contradiction_comes_first(audited: tuple[LabelAuditReport, pd.DataFrame]) -> None:
    _, table = audited

    assert table["margin"].is_monotonic_decreasing
    assert table["file"].iloc[0] == "train/002.png"


def test_the_share_of_wrong_labels_is_estimated_by_class(audited: tuple[LabelAuditReport, pd.DataFrame]) -> None:
    numbers = audited[0].numbers()

    assert numbers["audit/wrong_share_sad"] == pytest.approx(WRONG / 46, abs=0.01)
    assert numbers["audit/wrong_share_happy"] == pytest.approx(0, abs=0.01)
    assert numbers["audit/wrong_share"] == pytest.approx(WRONG / 120, abs=0.01)


def test_the_table_is_what_preprocessing_takes_and_changes_nothing_before_a_person_decides(
    audited: tuple[LabelAuditReport, pd.DataFrame], tmp_path: Path
) -> None:
    path = tmp_path / "doubtful_labels.csv"
    path.write_text(write_table(audited[1]), encoding="utf-8")

    verdicts = read_verdicts(path, NAMES)

    assert verdicts["train/002.png"] == Verdict("keep", "happy", True, "sad")
    assert len(verdicts) == WRONG


def test_the_joint_and_the_most_doubtful_faces_are_drawn(faces: FaceSet, probabilities: np.ndarray) -> None:
    report, _ = audit_labels(faces, probabilities, folds=5)

    assert [png[:4] for png in report.figures.values()] == [b"\x89PNG"] * 2
    assert list(report.figures) == ["joint.png", "doubtful_faces.png"]
    assert "6 doubtful labels" in " ".join(report.page().split()).replace("<b>", "").replace("</b>", " ")


def test_labels_without_a_doubt_are_an_empty_table_and_a_page_that_says_so(
    faces: FaceSet, probabilities: np.ndarray
) -> None:
    right = faces.take(np.flatnonzero(~faces.table["source"].isin([f"train/{n:03d}.png" for n in range(2, 2 + WRONG)])))

    report, table = audit_labels(right, probabilities[WRONG:], folds=5)

    assert report.doubtful == 0
    assert len(pd.read_csv(io.StringIO(write_table(table)))) == 0
    assert "Not one label of 114 is doubtful" in review_page(report, table, right)
