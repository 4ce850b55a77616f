from pathlib import Path

import pytest

from commands.command_line import Command, check_names, parse_words
from configs.errors import UserError
from configs.pipelines import PIPELINES


def test_the_help_lists_pipelines_and_settings_with_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_words(["--help"])

    shown = capsys.readouterr().out
    assert f"pipelines: {', '.join(PIPELINES)}" in shown
    assert ["--training.batch_size", "128"] in [line.split() for line in shown.splitlines()]


def test_values_are_nested_and_lists_and_mappings_are_read_as_yaml() -> None:
    words = ["--a.b", "1", "--a.c=[x, 2]", "--pipeline", "training", "--d", "two words", "--e", "[{name: x, on: [y]}]"]

    command = parse_words(words)

    assert command.pipeline == "training"
    assert command.given == {"a": {"b": "1", "c": ["x", 2]}, "d": "two words", "e": [{"name": "x", True: ["y"]}]}


def test_what_is_quoted_in_a_list_is_one_word() -> None:
    assert parse_words(["--card.limits", "['one, two', three]"]).given == {"card": {"limits": ["one, two", "three"]}}


def test_the_later_of_two_values_wins() -> None:
    assert parse_words(["--a.b", "[1]", "--a.b=[2]", "--a.c", ""]).given == {"a": {"b": [2], "c": ""}}


def test_options_are_not_settings() -> None:
    command = parse_words(["--config", "a.yaml", "--config", "b.yaml", "--compare", "--debug", "--format", "json"])

    assert command == Command(config=[Path("a.yaml"), Path("b.yaml")], compare=True, debug=True, format="json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed"], "--seed has no value"),
        (["--pipe"], "--pipe has no value"),  # not taken for --pipeline
        (["--stack", "mine", "--bare", "out"], "--stack names what pipelines run on"),
        (["--format", "json", "--pipeline", "training"], "--format goes with --compare"),
        (["--tidy", "--yes", "--pipeline", "training"], "--pipeline and --tidy are commands of their own"),
        (["--reproduce", "abc", "--bare", "out"], "--bare and --reproduce are commands of their own"),
        (["--reproduce", "abc", "--pipeline", "training"], "--pipeline and --reproduce are commands of their own"),
        (["--doctor", "--compare"], "--doctor and --compare are commands of their own; give one of them"),
        (["seed", "3"], "unexpected argument 'seed'"),
        (["--training.phases", "[1, 2"], r"--training\.phases \[1, 2 is not valid YAML"),
        (["--a.b", "[1,", "2]", "--c", "3"], r'--a\.b \[1, is a part: .* quote it: --a\.b "\[1, 2\]"'),
        (["--training.phases", "[2001-99-99]"], "is not valid YAML: month must be in 1..12"),
        (["--seed", "1", "--seed.x", "1"], r"--seed\.x: seed was given a value before"),
        (["--format", "pdf"], "invalid choice: 'pdf'"),
        (["--pipeline"], "expected one argument; see run.py --help"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_words(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pipelin", "training"], r"--pipelin is neither an option nor a setting; did you mean --pipeline\?"),
        (["--trainig.batch_size", "3"], r"--trainig is neither an option nor a setting; did you mean --training\?"),
        (["--zzz", "3"], "--zzz is neither an option nor a setting; see run.py --help"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest_that_is_known(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_names(parse_words(words))


def test_an_unknown_switch_is_named_with_the_nearest_that_is_known() -> None:
    with pytest.raises(UserError, match=r"--debgu has no value; .*; did you mean --debug\?"):
        parse_words(["--pipeline", "training", "--debgu"])


def test_the_home_folder_is_found_after_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    command = parse_words(["--config=~/my.yaml", "--bare=~/out"])

    assert command.config == [tmp_path / "my.yaml"]
    assert command.bare == tmp_path / "out"
