from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from configs.data_settings import CodeTable
from configs.errors import UserError
from configs.loading import load_settings
from vision.data.label_codes import SYNONYMS, TABLES, TITLES, Labels, class_named


@pytest.fixture
def labels(tmp_path: Path, dataset_settings: Callable[..., Any]) -> Callable[..., Labels]:
    def make(known: str = "", **changes: Any) -> Labels:
        return Labels(dataset_settings(tmp_path, **changes), known)

    return make


def test_the_tables_that_settings_may_name_are_those_that_are_there() -> None:
    assert {*TABLES} == {*TITLES} == {*get_args(CodeTable)}
    assert {name for table in TABLES.values() for name in table.values()} <= {w for group in SYNONYMS for w in group}


def test_codes_on_the_command_line_may_be_numbers_and_null() -> None:
    codes = load_settings([], {"dataset": {"codes": {0: "angry", 7: None}, "splits": {1: "test"}}}).dataset

    assert (codes.codes, codes.splits) == ({"0": "angry", "7": None}, {"1": "test"})
    with pytest.raises(UserError, match=r"dataset\.codes"):
        load_settings([], {"dataset": {"codes": "imagenet"}})


def test_codes_that_a_table_with_gaps_saved_as_fractions_are_codes(labels: Callable[..., Labels]) -> None:
    assert [labels("fer2013").of(text) for text in ("3.0", "6.00", " 04 ", "4.5")] == ["happy", "neutral", "sad", "4.5"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("fer2013", ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]),
        ("expw", ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]),
        ("affectnet", ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"]),
    ],
)
def test_a_code_means_what_its_format_says(table: str, said: list[str], labels: Callable[..., Labels]) -> None:
    assert [labels(table).of(str(code)) for code in range(7)] == said
    assert [labels(codes=table).of(str(code)) for code in range(7)] == said


def test_raf_db_counts_from_one(labels: Callable[..., Labels]) -> None:
    found = labels("rafdb")

    assert [found.of(str(code)) for code in range(1, 8)] == [
        "surprise", "fear", "disgust", "happy", "sad", "angry", "neutral",
    ]  # fmt: skip
    assert found.facts()["codes"].startswith("of RAF-DB (1 surprise, 2 fear")


@pytest.mark.parametrize(
    ("word", "name"),
    [("Anger", "angry"), ("happiness", "happy"), ("3_happy", "happy"), ("Afraid", "fear"), ("surprised", "surprise"),
     ("neutrality", "neutral"), ("bored", None), ("unhappy", None), ("contempt", None)],
)  # fmt: skip
def test_words_of_other_sets_become_class_names(word: str, name: str | None, labels: Callable[..., Labels]) -> None:
    found = labels()

    assert found.of(word) == (name or word)
    assert ("labels" in found.facts()) == bool(name)
    if name:
        assert found.facts()["labels"] == f"{word} read as {name} (1)"


def test_a_class_name_stays_what_it_is_even_where_it_is_a_number_or_another_sets_word() -> None:
    assert class_named("anger", ("anger", "joy")) == "anger"
    assert class_named("happy", ("anger", "joy")) == "joy"


def test_null_leaves_faces_out_and_counts_them(labels: Callable[..., Labels]) -> None:
    found = labels("fer2013", codes={"7": None, "contempt": None, "6": "sad"})

    assert [found.of(text) for text in ("7", "Contempt", "6", "07")] == [None, None, "sad", None]
    assert "7 (1)" in found.facts()["left out by dataset.codes"]
    assert found.facts()["dataset.codes"] == "6 sad"


def test_a_code_outside_of_the_table_is_named_with_the_way_out(labels: Callable[..., Labels]) -> None:
    found = labels("fer2013")

    assert found.of("7") == "7"
    assert found.facts()["unknown labels"].startswith("'7' (1); add them to dataset.class_names")
    assert '--dataset.codes "{7: null}"' in found.facts()["unknown labels"]
    assert "FER2013 has no code 7: if the codes are another format's" in found.facts()["unknown labels"]


@pytest.mark.parametrize("known", ["affectnet", ""])
def test_a_code_whose_emotion_is_not_a_class_stops_with_both_ways_out(
    known: str, labels: Callable[..., Labels]
) -> None:
    found = labels(known, codes={} if known else {"7": "contempt"})

    with pytest.raises(UserError, match=r"the code 7 is .* contempt, which dataset\.class_names .*\{7: null\}"):
        found.of("7")


def test_numbers_of_an_unknown_format_are_asked_for(labels: Callable[..., Labels]) -> None:
    with pytest.raises(UserError, match=r"the labels are numbers \(1, 2, 7\), and what they mean is not known") as said:
        labels().check_numbers({"7", "1", "2", "happy"})

    # no emotions: whoever copied a guess would train wrong labels
    assert '--dataset.codes "{1: EMOTION, 2: EMOTION, 7: EMOTION}"' in str(said.value)
    assert "--dataset.codes NAME, which may be affectnet" in str(said.value)
    assert "rafdb (1 surprise" in str(said.value)
    assert "fer2013" not in str(said.value)  # it has no code 7


def test_numbers_that_are_classes_or_were_said_are_not_asked_for(labels: Callable[..., Labels]) -> None:
    labels(class_names=("1", "2")).check_numbers({"1", "2"})
    labels(codes={"0": "happy", "1": None}).check_numbers({"0", "01"})
    labels(codes="rafdb").check_numbers({"1"})


def test_a_table_of_endless_labels_takes_no_memory(labels: Callable[..., Labels]) -> None:
    found = labels("fer2013")
    for number in range(20_000):
        found.of(f"{number} " + "x" * 1000)

    assert len(found.found) == 10_000
    assert max(map(len, found.found)) == 100


def test_a_code_is_matched_in_any_case_and_as_the_number_that_it_is(labels: Callable[..., Labels]) -> None:
    found = labels(codes={"Happy": None, "Bored ": "neutral", "01": "angry", "2.0": "sad"})
    found.check_numbers({"1", "02"})

    assert [found.of(text) for text in ("happy", "Happy", "bored", "1", "01", "2")] == [
        None, None, "neutral", "angry", "angry", "sad",
    ]  # fmt: skip


def test_what_a_run_advises_for_an_unknown_label_works(labels: Callable[..., Labels]) -> None:
    found = labels()
    assert found.of("Bored") == "Bored"
    assert '--dataset.codes "{Bored: null}"' in found.facts()["unknown labels"]

    assert labels(codes={"Bored": None}).of("Bored") is None


def test_two_codes_that_are_the_same_label_are_refused(labels: Callable[..., Labels]) -> None:
    with pytest.raises(UserError, match=r"dataset\.codes has '1' and '01', which are the same label; keep one"):
        labels(codes={"1": "happy", "01": "sad"})


def test_codes_that_no_label_is_called_by_are_named(labels: Callable[..., Labels]) -> None:
    found = labels(codes={"Hapy": None, "9": "sad", "Bored": None})
    for text in ("happy", "bored"):
        found.of(text)

    assert found.facts()["dataset.codes without a face"].startswith("hapy, 9; no label is called so")
    assert "dataset.codes without a face" not in labels(codes="rafdb").facts()
