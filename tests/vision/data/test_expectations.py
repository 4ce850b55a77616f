import great_expectations as gx
import pandas as pd
import pytest

from vision.data.checks import CheckResult
from vision.data.expectations import check_rows


def check(*batches: pd.DataFrame, examples: int = 8) -> CheckResult:
    """Check that the shorter side is 32 pixels or more, for half of the rows."""
    meta = {"check": "size", "question": "Is it large?", "allowed": "at most half"}
    expectation = gx.expectations.ExpectColumnValuesToBeBetween(
        column="short_side", min_value=32, mostly=0.5, severity="warning", meta=meta
    )
    ((result, _),) = check_rows(batches, [expectation], examples)
    return result


def table(*sides: float | None) -> pd.DataFrame:
    return pd.DataFrame({"source": [f"face{n}" for n in range(len(sides))], "short_side": sides})


def test_a_missing_value_is_not_checked_and_failed_rows_are_named() -> None:
    result = check(table(48, None, 16, 40))

    assert (result.checked, result.failed, result.passed, result.examples) == (3, 1, True, ("face2",))
    assert result.failed_share == pytest.approx(1 / 3)
    assert (result.check, result.severity, result.allowed) == ("size", "warning", "at most half")


def test_more_failed_rows_than_allowed_fail_the_check_and_some_are_named() -> None:
    result = check(table(*[16] * 5, 48), examples=2)

    assert (result.failed, result.passed, len(result.examples)) == (5, False, 2)


def test_a_check_that_cannot_run_is_an_error_and_not_a_result() -> None:
    with pytest.raises(RuntimeError, match="short_side"):
        check(pd.DataFrame({"source": ["face0"]}))


def test_blocks_are_checked_as_the_table_that_they_are() -> None:
    sides = [16, None, 48, 16, None, 16, 40, 48]
    whole = table(*sides)

    in_blocks = check(whole[:3], whole[3:5], whole[5:])

    assert in_blocks == check(whole)
    assert in_blocks.examples == ("face0", "face3", "face5")
    assert (in_blocks.checked, in_blocks.failed, in_blocks.passed) == (6, 3, True)


def test_a_block_in_which_nothing_is_checked_is_no_failure() -> None:
    assert check(table(None, None), table(48)).passed
