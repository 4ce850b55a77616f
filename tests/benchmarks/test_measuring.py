import json
from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.measuring import Table, alternate, compare, publish

TABLE = Table(
    "Loading", ("images per second", "median"), (("ours", 1234.5), ("theirs", 0.98765)), ("A note.",), "a machine"
)


def test_each_round_measures_every_side_and_starts_with_another() -> None:
    order: list[str] = []
    sides = {name: lambda name=name: float(order.append(name) or len(order)) for name in ("a", "b", "c")}

    figures = alternate(sides, rounds=2)

    assert order == ["a", "b", "c", "b", "c", "a"]
    assert figures == {"a": [1.0, 6.0], "b": [2.0, 4.0], "c": [3.0, 5.0]}


def test_ratios_are_taken_within_a_round_so_that_a_slow_machine_favours_no_side() -> None:
    figures = {"ours": [200.0, 20.0, 2000.0], "theirs": [100.0, 10.0, 1000.0]}  # the machine stalls in the second round

    ours, theirs = compare(figures, against="theirs")

    assert ours == ("ours", 200.0, 20.0, 2000.0, "2.000")
    assert theirs == ("theirs", 100.0, 10.0, 1000.0, "1.000")


def test_a_table_is_markdown_with_the_machine_and_the_notes_below() -> None:
    lines = TABLE.markdown().splitlines()

    assert lines[0] == "## Loading"
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == ["ours", "1,234"]
    assert [cell.strip() for cell in lines[5].split("|")[1:-1]] == ["theirs", "0.988"]
    assert lines[7:] == ["*a machine*", "", "A note."]


@pytest.mark.parametrize("name", ["table.md", "folder/table.json"])
def test_the_table_is_also_written_where_output_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(TABLE, Namespace(quick=False, output=tmp_path / name))

    written = (tmp_path / name).read_text(encoding="utf-8")
    assert capsys.readouterr().out.strip() == TABLE.markdown().strip()
    if name.endswith(".md"):
        assert written == TABLE.markdown()
    else:
        assert json.loads(written)["rows"] == [["ours", 1234.5], ["theirs", 0.98765]]


def test_the_figures_of_a_quick_run_say_that_they_mean_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    publish(TABLE, Namespace(quick=True, output=None))

    assert capsys.readouterr().out.startswith("## Loading (quick: figures mean nothing)")
