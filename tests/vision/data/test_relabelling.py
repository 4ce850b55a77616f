from pathlib import Path

import pandas as pd
import pytest

from configs.errors import UserError
from configs.settings import Settings
from vision.data.faces import TEST, TRAIN, VALIDATION
from vision.data.relabelling import DOUBTFUL, MAX_BYTES, Verdict, check_verdicts, read_verdicts, relabel_faces

NAMES = ("happy", "sad")
HEADER = "file,given,likely,confidence,margin,doubtful,action,label\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


@pytest.fixture
def table() -> pd.DataFrame:
    labels, splits = ["happy", "happy", "sad", "sad", "sad"], [TRAIN, TRAIN, TRAIN, VALIDATION, TEST]
    return pd.DataFrame({"source": list("abcvt"), "label": labels, "split": splits}, index=[10, 11, 12, 13, 14])


def test_a_table_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + '"x, y.png",happy,sad,0.9,0.8,yes,change,sad\nz.png,sad,happy,0.5,0.1,,keep,\n')

    assert read_verdicts(path, NAMES) == {
        "x, y.png": Verdict("change", "sad", True, "happy"),
        "z.png": Verdict("keep", "", False, "sad"),
    }


def test_three_columns_are_enough(tmp_path: Path) -> None:
    path = write(tmp_path, "label,action,file\n,drop,a\n")

    assert read_verdicts(path, NAMES) == {"a": Verdict("drop", "", False, "")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no column file and action and label"),
        ("file,action\na,keep\n", "has no column label; expected file, action, label, found 'file, action'"),
        ("file;action;label\na;keep;happy\n", "found 'file;action;label'; save it with commas between the columns"),
        ("file,action,label\n", "has no row"),
        ("file,action,label,label\na,keep,,\n", "has a column twice"),
        (
            "file,action,label\na,delete,happy\n",
            "line 2: the action 'delete' is not known; expected keep, ch",
        ),
        ("file,action,label\na,keep,\nb,change,glad\n", "line 3: the label 'glad' is not a class"),
        ("file,action,label\na,keep,glad\n", "line 2: the label 'glad' is not a class"),
        ("file,action,label\na,change,\n", "line 2: the label '' is not a class"),
        ("file,action,label\na,keep\n", "line 2 has 2 cells, and the header 3"),
        ("file,action,label\na,keep,\na,drop,\n", "line 3: the file 'a' stands in the table twice"),
        ("file,action,label,doubtful\na,keep,,perhaps\n", "doubtful is 'perhaps'; expected yes, no or nothing"),
        ('file,action,label\n"a,keep,\n', "cannot be read as a CSV file"),
        ("file,action,label\na\udcff,keep,\n", "cannot be read as a CSV file in UTF-8"),
        ("file,action,label\na,\x1b]0;owned\x07,\n", r"the action '\x1b]0;owned\x07' is not known"),
        (f"file,action,label\na,{'k' * 1000},\n", f"the action '{'k' * 100}…' is not known"),
    ],
)
def test_a_wrong_table_is_one_sentence_that_names_the_line_and_the_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        read_verdicts(write(tmp_path, text), NAMES)

    assert raised.value.exit_code == 2
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("action", "weight", "warns"), [("keep", 1.0, True), ("keep", 0.5, False), ("drop", 1.0, False)]
)
def test_a_table_that_would_change_nothing_is_told(
    tmp_path: Path, small_settings: Settings, caplog: pytest.LogCaptureFixture, action: str, weight: float, warns: bool
) -> None:
    path = write(tmp_path, f"file,action,label,doubtful\na,{action},,yes\nb,keep,,yes\n")
    preprocessing = small_settings.preprocessing.model_copy(update={"relabel": path})
    training = small_settings.training.model_copy(update={"doubtful_weight": weight})

    check_verdicts(small_settings.model_copy(update={"preprocessing": preprocessing, "training": training}))

    assert ("changes nothing: its actions all say keep" in caplog.text) == warns


def test_a_file_that_is_too_large_or_missing_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)

    with pytest.raises(UserError, match="more than 200,000,000 bytes"):
        read_verdicts(path, NAMES)
    with pytest.raises(UserError, match="cannot be read"):
        read_verdicts(tmp_path / "nowhere.csv", NAMES)


def test_labels_change_faces_drop_and_doubts_are_marked(table: pd.DataFrame) -> None:
    verdicts = {
        "a": Verdict("change", "sad", False, "happy"),
        "b": Verdict("drop", "", True, ""),
        "c": Verdict("keep", "", True, "sad"),
    }

    changed, dropped, done = relabel_faces(table, verdicts, "/somewhere/labels.csv")

    assert changed["label"].tolist() == ["sad", "happy", "sad", "sad", "sad"]
    assert changed[DOUBTFUL].tolist() == [False, False, True, False, False]
    assert dropped[dropped].index.tolist() == [11]
    assert (done.file, done.changed, done.dropped, done.doubtful, done.left_alone) == ("labels.csv", 1, 1, 1, 0)
    assert done.changes == {"happy → sad": 1}


def test_what_is_left_alone_is_counted_by_its_reason(table: pd.DataFrame) -> None:
    change = Verdict("change", "happy", True, "")
    verdicts = {
        "v": change, "t": change, "nowhere": change, "c": change, "a": Verdict("drop", "", False, "sad"),
    }  # fmt: skip

    changed, dropped, done = relabel_faces(table, verdicts, "labels.csv")

    assert changed["label"].tolist() == ["happy", "happy", "happy", "sad", "sad"]
    assert not dropped.any()
    assert (done.held_out, done.missing, done.outdated, done.changed) == (2, 1, 1, 1)
    assert "1 rows name a file that the data set does not have" in str(done)


def test_a_table_of_another_data_set_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="would do nothing: 2 rows name a file that the data set does not have"):
        relabel_faces(table, dict.fromkeys(("x", "y"), Verdict("drop", "", False, "")), "labels.csv")
