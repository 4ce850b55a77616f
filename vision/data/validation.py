"""Data validation: the checks of a FaceSet's table, and their report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd

from configs.data_settings import ValidationSettings
from vision.data import plots
from vision.data.checks import CheckResult
from vision.data.duplicates import audit_copies
from vision.data.face_detection import NO_FACE
from vision.data.face_table import table_blocks
from vision.data.faces import SPLITS, TEST, UNASSIGNED, VALIDATION, FaceSet
from vision.data.reasons import explain_checks, is_framed
from vision.reporting.pages import render_page
from vision.reporting.reports import Report

EXAMPLE_FILES = 8  # named for each check that failed


@dataclass(frozen=True, kw_only=True)
class ValidationReport(Report):
    """The outcome of all checks on one data set."""

    dataset: str
    fingerprint: str
    images: int
    checks: tuple[CheckResult, ...]
    reading: Mapping[str, str] = field(default_factory=dict)  # of the FaceSet

    @property
    def critical(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if not check.passed and check.severity == "critical")

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if not check.passed and check.severity == "warning")

    def numbers(self) -> dict[str, float]:
        return {f"validation/{check.check}_failed": float(check.failed) for check in self.checks}

    def page(self) -> str:
        return render_page("validation.html.j2", title=f"Data validation of {self.dataset}", report=self)

    def table(self, checks: tuple[CheckResult, ...]) -> str:
        """Return checks as a text table, then what was found in the rows that failed and what to change."""
        rows = [
            {
                "severity": check.severity,
                "check": check.check,
                "failed": f"{check.failed} of {check.checked} ({check.failed_share:.2%})",
                "allowed": check.allowed,
            }
            for check in checks
        ]
        lines = [pd.DataFrame(rows).to_string(index=False, justify="left")]
        for check in checks:
            lines += [f"{check.check} found:", *(f"  {found}" for found in check.found)]
            lines += [f"  way out: {check.way_out}"] if check.way_out else []
        return "\n".join(lines)


def validate_faces(faces: FaceSet, settings: ValidationSettings, blank_standard_deviation: float) -> ValidationReport:
    """Check a FaceSet. Failed checks are in the report and raise nothing.

    A face whose grey levels have a standard deviation below `blank_standard_deviation` is blank.
    """
    # Great Expectations takes seconds to import, and most commands check nothing
    from vision.data.expectations import check_rows, class_expectations, image_expectations

    expected = image_expectations(faces, settings, blank_standard_deviation)
    found = [
        *check_rows(_image_batches(faces, settings), expected, EXAMPLE_FILES),
        *check_rows([_class_batch(faces)], class_expectations(settings), EXAMPLE_FILES),
    ]
    checks = explain_checks(faces, found, settings)
    return ValidationReport(
        dataset=faces.name,
        fingerprint=faces.fingerprint,
        images=len(faces),
        checks=tuple(checks),
        reading=faces.reading,
        figures={"suspicious_faces.png": plots.suspicious_faces(faces, checks)},
    )


def _image_batches(faces: FaceSet, settings: ValidationSettings) -> Iterator[pd.DataFrame]:
    """Yield blocks of one row an image; a value is missing where its check does not apply to the image."""
    copies = audit_copies(faces.table).astype("boolean")
    for table in table_blocks(faces.table):
        decodable = table["error"] == ""
        held_out = decodable & table["split"].isin([VALIDATION, TEST])
        found = copies.loc[table.index]
        yield pd.DataFrame(
            {
                "source": table["source"],
                "label": table["label"],
                "error": table["error"].where(~table["error"].isin(["", NO_FACE])),
                "face_found": (table["error"] != NO_FACE).astype("boolean").where(table["error"].isin(["", NO_FACE])),
                "framing": is_framed(table, faces.reading, settings.framing).astype("boolean").where(decodable),
                "short_side": table[["width", "height"]].min(axis=1).where(decodable),
                "mean": table["mean"],
                "standard_deviation": table["standard_deviation"],
                "repeated": found["repeated"].where(decodable),
                "conflicting": found["conflicting"].where(decodable),
                "leaked": found["leaked"].where(held_out),
                "near_leaked": found["near_leaked"].where(held_out),
            }
        )


def _class_batch(faces: FaceSet) -> pd.DataFrame:
    """Return one row for each class in each split of the data set, with the count of decodable faces."""
    table = faces.table[["split", "label"]][faces.decodable]
    splits = [split for split in (*SPLITS, UNASSIGNED) if (faces.table["split"] == split).any()]
    counts = table.groupby(["split", "label"]).size()
    rows = [
        {"source": f"{split}/{name}: {counts.get((split, name), 0)}", "count": counts.get((split, name), 0)}
        for split in splits
        for name in faces.class_names
    ]
    return pd.DataFrame(rows)
