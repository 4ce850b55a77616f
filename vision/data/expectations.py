"""Great Expectations: the suite, built from the settings, and its run on a table. Takes seconds to import."""

import logging
from collections.abc import Iterable
from copy import copy
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation

from configs.data_settings import ValidationSettings
from vision.data.checks import CheckResult
from vision.data.faces import FaceSet

ROW = "row"  # column: the position of a row, by which Great Expectations reports it

# its own import sets it to INFO, and it would tell users about temporary folders
logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)


def image_expectations(
    faces: FaceSet, settings: ValidationSettings, blank_standard_deviation: float
) -> list[Expectation]:
    """Return what each image must be; a value that is missing in a row is not checked there.

    `blank_standard_deviation` is in grey levels; an image below it is blank.
    """
    expect = gx.expectations

    def described(name: str, question: str) -> dict[str, Any]:
        check = getattr(settings, name)
        meta = {"check": name, "question": question, "allowed": f"at most {check.max_share:.2%}"}
        return {"mostly": 1 - check.max_share, "severity": check.severity, "meta": meta}

    def holds(name: str, question: str, wanted: bool) -> Expectation:
        return expect.ExpectColumnValuesToBeInSet(column=name, value_set=[wanted], **described(name, question))

    framing, brightness = settings.framing, settings.brightness
    cut_out = f"at most {framing.max_side} pixels long and {framing.max_aspect:g} times as long as wide"
    levels = f"{brightness.min_mean:g} to {brightness.max_mean:g}"
    return [
        expect.ExpectColumnValuesToBeNull(column="error", **described("decodable", "Can the image be read?")),
        expect.ExpectColumnValuesToBeInSet(
            column="label",
            value_set=list(faces.class_names),
            **described("known_label", f"Is the label one of {', '.join(faces.class_names)}?"),
        ),
        holds("face_found", "Was a face found in the picture (with dataset.crop_faces)?", True),
        holds("framing", f"Is the image a face that was cut out ({cut_out})?", True),
        expect.ExpectColumnValuesToBeBetween(
            column="short_side",
            min_value=settings.size.min_side,
            **described("size", f"Is the shorter side {settings.size.min_side} pixels or more?"),
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="standard_deviation",
            min_value=blank_standard_deviation,
            **described("blank", "Does the image show anything (more than one grey level)?"),
        ),
        holds("repeated", "Is the image the first of its kind in its split?", False),
        holds("leaked", "Is the held-out image absent from training?", False),
        holds("near_leaked", "Is the held-out image unlike every training image (perceptual hash)?", False),
        holds("conflicting", "Does the same image have the same label everywhere?", False),
        expect.ExpectColumnValuesToBeBetween(
            column="mean",
            min_value=brightness.min_mean,
            max_value=brightness.max_mean,
            **described("brightness", f"Is the mean grey level within {levels}?"),
        ),
    ]


def class_expectations(settings: ValidationSettings) -> list[Expectation]:
    """Return what each class in each split must be."""
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


def check_rows(
    batches: Iterable[pd.DataFrame], expectations: list[Expectation], examples: int
) -> list[tuple[CheckResult, list[int]]]:
    """Run expectations on a table with a column `source`; return each outcome with the positions of the rows that fail.

    The table comes in blocks, of which one at a time is in memory. Up to `examples` of the rows that fail are named in
    the outcome.
    """
    counted = [_Counted(examples) for _ in expectations]
    start = 0
    for batch in batches:
        for one, outcome in zip(counted, _validate(batch, expectations), strict=True):
            one.add(outcome, batch["source"], start)
        start += len(batch)
    return [one.result() for one in counted]


def _validate(batch: pd.DataFrame, expectations: list[Expectation]) -> list[dict[str, Any]]:
    context = gx.get_context(mode="ephemeral")  # a context would keep every batch that it has seen
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    definition = (
        context.data_sources.add_pandas("faces")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("all")
    )
    suite = context.suites.add(gx.ExpectationSuite(name="faces", expectations=[copy(one) for one in expectations]))
    numbered = batch.assign(**{ROW: range(len(batch))})
    outcome = definition.get_batch({"dataframe": numbered}).validate(
        suite,
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": [ROW],
            "return_unexpected_index_query": False,
        },
    )
    return [result.to_json_dict() for result in outcome.results]


class _Counted:
    """The outcome of one expectation, added up over the blocks of a table."""

    def __init__(self, examples: int) -> None:
        self.examples, self.named = examples, list[str]()
        self.checked, self.rows = 0, list[int]()
        self.config: dict[str, Any] = {}

    def add(self, outcome: dict[str, Any], sources: pd.Series, start: int) -> None:
        """Add what Great Expectations found in a block of which the first row is at `start` in the table."""
        result, raised = outcome["result"], outcome["exception_info"]
        self.config = outcome["expectation_config"]
        # one exception, or one for each metric that could not be computed
        for problem in (raised, *(value for value in raised.values() if isinstance(value, dict))):
            if problem.get("raised_exception"):
                raise RuntimeError(f"{self.config['type']}: {problem['exception_message']}")
        rows = [int(found[ROW]) for found in result.get("unexpected_index_list") or []]
        # for to_be_null, missing values are the ones that pass, so they count as checked
        missing = 0 if self.config["type"] == "expect_column_values_to_be_null" else result.get("missing_count", 0)
        self.checked += len(sources) - missing
        self.named += [str(source) for source in sources.iloc[rows[: self.examples - len(self.named)]]]
        self.rows += [start + row for row in rows]

    def result(self) -> tuple[CheckResult, list[int]]:
        """Return the outcome for the whole table, passed as Great Expectations decides it, and the rows that fail."""
        config, failed = self.config, len(self.rows)
        check = CheckResult(
            check=config["meta"]["check"],
            question=config["meta"]["question"],
            expectation=config["type"],
            severity=str(config["severity"]),
            passed=not failed or (self.checked - failed) / self.checked >= config["kwargs"].get("mostly", 1.0),
            checked=self.checked,
            failed=failed,
            allowed=config["meta"]["allowed"],
            examples=tuple(self.named),
        )
        return check, self.rows
