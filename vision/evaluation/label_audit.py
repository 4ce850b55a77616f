"""Label audit: which labels are probably wrong, by answers of networks that did not learn from these faces."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.count import estimate_joint
from cleanlab.filter import find_label_issues

from vision.data.faces import TRAIN, FaceSet
from vision.data.relabelling import ACTION, DOUBTFUL, FILE, GIVEN, KEEP, LABEL, YES
from vision.evaluation import plots
from vision.reporting.cells import plain_cell
from vision.reporting.figures import face_png, labelled_faces
from vision.reporting.pages import render_page
from vision.reporting.reports import Report

Array = np.ndarray[Any, Any]
SHOWN = 100  # faces on the page, the most doubtful first
DRAWN = 24  # faces in the figure
RANKED_BY = "normalized_margin"  # probability of the given label less that of the likeliest other one


@dataclass(frozen=True)
class AuditedClass:
    """What the audit says of the labels of one class; `wrong_share` is estimated."""

    name: str
    faces: int
    doubtful: int
    wrong_share: float


@dataclass(frozen=True, kw_only=True)
class LabelAuditReport(Report):
    """Doubtful labels counted, and the estimated (given, true) shares of all faces; `accuracy` is out of fold."""

    faces: int
    folds: int
    accuracy: float
    doubtful: int
    classes: list[AuditedClass]
    joint: list[list[float]]

    @property
    def wrong_share(self) -> float:
        """The estimated share of wrong labels."""
        return 1.0 - float(np.trace(np.array(self.joint)))

    def numbers(self) -> dict[str, float]:
        return {
            "audit/faces": float(self.faces),
            "audit/out_of_fold_accuracy": self.accuracy,
            "audit/doubtful": float(self.doubtful),
            "audit/wrong_share": self.wrong_share,
            **{f"audit/doubtful_{found.name}": float(found.doubtful) for found in self.classes},
            **{f"audit/wrong_share_{found.name}": found.wrong_share for found in self.classes},
        }

    def page(self) -> str:
        return render_page("label_audit.html.j2", title="Label audit", report=self)


def audit_labels(faces: FaceSet, probabilities: Array, folds: int) -> tuple[LabelAuditReport, pd.DataFrame]:
    """Find doubtful labels by confident learning (Northcutt, Jiang & Chuang 2021) and rank them, most doubtful first.

    `probabilities` (training faces, classes) are in the order of the training faces' rows, and out of fold. The table
    has a row for each doubtful label: file, given, likely, confidence (of the likely label), margin (the given label's
    probability less than that), doubtful, action and label; `preprocessing.relabel` takes it.
    """
    rows = faces.rows(TRAIN)
    labels = faces.labels[rows]
    joint = np.asarray(estimate_joint(labels, probabilities))
    ranked = np.asarray(find_label_issues(labels, probabilities, return_indices_ranked_by=RANKED_BY, n_jobs=1))
    ranked = ranked.astype(np.int64)
    table = _doubtful_table(faces, rows[ranked], probabilities[ranked])
    shown = rows[ranked[:DRAWN]]
    titles = [f"{row.given}\n→ {row.likely} {row.confidence:.2f}" for row in table.head(DRAWN).itertuples()]
    report = LabelAuditReport(
        faces=len(rows),
        folds=folds,
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        doubtful=len(ranked),
        classes=_by_class(faces, labels, labels[ranked], joint),
        joint=joint.tolist(),
        figures={
            "joint.png": plots.label_joint(joint, faces.class_names),
            "doubtful_faces.png": labelled_faces(list(faces.images[shown]), titles, "not one label is doubtful"),
        },
    )
    return report, table


def _doubtful_table(faces: FaceSet, rows: Array, probabilities: Array) -> pd.DataFrame:
    names = np.array(faces.class_names)
    probabilities = probabilities.astype(np.float64)  # or rounded numbers would have a tail of digits
    likely = probabilities.argmax(axis=1)
    each = np.arange(len(rows))
    given = probabilities[each, faces.labels[rows]]
    return pd.DataFrame(
        {
            FILE: faces.table["source"].iloc[rows].to_numpy(),
            GIVEN: names[faces.labels[rows]],
            "likely": names[likely],
            "confidence": probabilities[each, likely].round(4),
            "margin": (probabilities[each, likely] - given).round(4),
            DOUBTFUL: YES,
            ACTION: KEEP,
            LABEL: names[likely],
        }
    )


def _by_class(faces: FaceSet, labels: Array, doubtful: Array, joint: Array) -> list[AuditedClass]:
    classes = len(faces.class_names)
    counts, doubted = (np.bincount(found, minlength=classes) for found in (labels, doubtful))
    wrong = 1.0 - np.diag(joint) / joint.sum(axis=1)
    found = zip(faces.class_names, counts.tolist(), doubted.tolist(), wrong.tolist(), strict=True)
    return [AuditedClass(*row) for row in found]


def write_table(table: pd.DataFrame) -> str:
    """Return the table of doubtful labels as the CSV that `preprocessing.relabel` takes."""
    buffer = io.StringIO()
    _with_plain_cells(table).to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _with_plain_cells(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{FILE: table[FILE].map(plain_cell)})


def review_page(report: LabelAuditReport, table: pd.DataFrame, faces: FaceSet) -> str:
    """Return a page on which a person goes through the first doubtful labels, and saves the table with the verdicts.

    It holds all that it needs: pictures, table and script.
    """
    head = table.head(SHOWN)
    places = pd.Series(np.arange(len(faces)), index=faces.table["source"])
    places = places[~places.index.duplicated()]
    cards = [{**row, "picture": face_png(faces.images[places[row[FILE]]])} for row in head.to_dict("records")]
    return render_page(
        "doubtful_labels.html.j2",
        title="Doubtful labels",
        report=report,
        cards=cards,
        columns=list(table.columns),
        rows=_with_plain_cells(table).to_numpy(dtype=object).tolist(),
        class_names=faces.class_names,
    )
