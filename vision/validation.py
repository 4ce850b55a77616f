"""Data validation: a Great Expectations suite, built from the settings, on a FaceSet's table."""

from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation

from configs.settings import ValidationSettings
from vision import plots
from vision.audit import audit_copies
from vision.faces import SPLITS, TEST, UNASSIGNED, VALIDATION, FaceSet
from vision.reports import Report, render_page


@dataclass(frozen=True)
class CheckResult:
    """One expectation's outcome: `failed` of `checked` rows; `allowed` says how many may."""

    check: str
    question: str
    expectation: str
    severity: str
    passed: bool
    checked: int
    failed: int
    allowed: str
    examples: tuple[str, ...]

    @property
    def failed_share(self) -> float:
        return self.failed / self.checked if self.checked else 0.0


@dataclass(frozen=True, kw_only=True)
class ValidationReport(Report):
    """The outcome of all checks on one data set."""

    dataset: str
    fingerprint: str
    images: int
    checks: tuple[CheckResult, ...]

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
        """Return checks as a text table: what failed, by how much, and examples."""
        rows = [
            {
                "severity": check.severity,
                "check": check.check,
                "failed": f"{check.failed} of {check.checked} ({check.failed_share:.2%})",
                "allowed": check.allowed,
                "for example": ", ".join(check.examples[:3]),
            }
            for check in checks
        ]
        return pd.DataFrame(rows).to_string(index=False, justify="left", max_colwidth=110)


def validate_faces(faces: FaceSet, settings: ValidationSettings) -> ValidationReport:
    """Check a FaceSet; failures are in the report, none is raised."""
    images, classes = _image_batch(faces), _class_batch(faces)
    # Great Expectations reports rows by the column that is asked for; both batches call it `source`
    checks = [
        *_run(images, _image_expectations(faces, settings), settings.example_files),
        *_run(classes, _class_expectations(settings), settings.example_files),
    ]
    return ValidationReport(
        dataset=faces.name,
        fingerprint=faces.fingerprint,
        images=len(faces),
        checks=tuple(checks),
        figures={"suspicious_faces.png": plots.suspicious_faces(faces, checks)},
    )


def _image_batch(faces: FaceSet) -> pd.DataFrame:
    """One row an image; a value is missing where its check does not apply to the image."""
    table = faces.table
    held_out = table["split"].isin([VALIDATION, TEST])
    copies = audit_copies(table).astype(object)
    return pd.DataFrame(
        {
            "source": table["source"],
            "label": table["label"],
            "error": table["error"].where(table["error"] != "", None),
            "short_side": table[["width", "height"]].min(axis=1).where(faces.decodable),
            "mean": table["mean"],
            "standard_deviation": table["standard_deviation"],
            "repeated": copies["repeated"].where(faces.decodable, None),
            "conflicting": copies["conflicting"].where(faces.decodable, None),
            "leaked": copies["leaked"].where(faces.decodable & held_out, None),
            "near_leaked": copies["near_leaked"].where(faces.decodable & held_out, None),
        }
    )


def _class_batch(faces: FaceSet) -> pd.DataFrame:
    """One row for each class in each split that the data set has, with the count of decodable faces."""
    table = faces.table[faces.decodable]
    splits = [split for split in (*SPLITS, UNASSIGNED) if (faces.table["split"] == split).any()]
    counts = table.groupby(["split", "label"]).size()
    rows = [
        {"source": f"{split}/{name}: {counts.get((split, name), 0)}", "count": counts.get((split, name), 0)}
        for split in splits
        for name in faces.class_names
    ]
    return pd.DataFrame(rows)


def _image_expectations(faces: FaceSet, settings: ValidationSettings) -> list[Expectation]:
    expect = gx.expectations

    def described(name: str, question: str) -> dict[str, Any]:
        check = getattr(settings, name)
        meta = {"check": name, "question": question, "allowed": f"at most {check.max_share:.2%}"}
        return {"mostly": 1 - check.max_share, "severity": check.severity, "meta": meta}

    def no_copies(name: str, question: str) -> Expectation:
        return expect.ExpectColumnValuesToBeInSet(column=name, value_set=[False], **described(name, question))

    return [
        expect.ExpectColumnValuesToBeNull(column="error", **described("decodable", "Can the image be read?")),
        expect.ExpectColumnValuesToBeInSet(
            column="label",
            value_set=list(faces.class_names),
            **described("known_label", f"Is the label one of {', '.join(faces.class_names)}?"),
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="short_side",
            min_value=settings.size.min_side,
            **described("size", f"Is the shorter side {settings.size.min_side} pixels or more?"),
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="standard_deviation",
            min_value=settings.blank.min_standard_deviation,
            **described("blank", "Does the image show anything (is it not of one grey level)?"),
        ),
        no_copies("repeated", "Is the image the first of its kind in its split?"),
        no_copies("leaked", "Is the held-out image absent from training?"),
        no_copies("near_leaked", "Is the held-out image unlike every training image (perceptual hash)?"),
        no_copies("conflicting", "Does the same image have the same label everywhere?"),
        expect.ExpectColumnValuesToBeBetween(
            column="mean",
            min_value=settings.brightness.min_mean,
            max_value=settings.brightness.max_mean,
            **described(
                "brightness",
                f"Is the mean grey level within {settings.brightness.min_mean:g} to {settings.brightness.max_mean:g}?",
            ),
        ),
    ]


def _class_expectations(settings: ValidationSettings) -> list[Expectation]:
    check = settings.class_count
    meta = {
        "check": "class_count",
        "question": f"Does every class have {check.min_count} faces or more in every split?",
        "allowed": f"{check.min_count} faces or more",
    }
    return [
        gx.expectations.ExpectColumnValuesToBeBetween(
            column="count", min_value=check.min_count, severity=check.severity, meta=meta
        )
    ]


def _run(batch: pd.DataFrame, expectations: list[Expectation], examples: int) -> list[CheckResult]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    definition = (
        context.data_sources.add_pandas("faces")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(gx.ExpectationSuite(name="faces", expectations=expectations))
    outcome = definition.get_batch({"dataframe": batch}).validate(
        suite,
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": ["source"],
            "partial_unexpected_count": examples,
        },
    )
    return [_check_result(result.to_json_dict(), len(batch)) for result in outcome.results]


def _check_result(outcome: dict[str, Any], rows: int) -> CheckResult:
    config, result = outcome["expectation_config"], outcome["result"]
    if outcome["exception_info"].get("raised_exception"):
        raise RuntimeError(f"{config['type']}: {outcome['exception_info']['exception_message']}")
    found = result.get("partial_unexpected_index_list") or []
    # to be null, the missing values are those that pass, and count as checked
    missing = 0 if config["type"] == "expect_column_values_to_be_null" else result.get("missing_count", 0)
    return CheckResult(
        check=config["meta"]["check"],
        question=config["meta"]["question"],
        expectation=config["type"],
        severity=str(config["severity"]),
        passed=bool(outcome["success"]),
        checked=rows - missing,
        failed=int(result["unexpected_count"]),
        allowed=config["meta"]["allowed"],
        examples=tuple(str(row["source"]) for row in found),
    )
