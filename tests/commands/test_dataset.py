from collections.abc import Callable
from pathlib import Path

import pytest

from commands.command_line import parse_words
from commands.dataset import Loaded, load_with_dataset
from configs import loading
from configs.errors import UserError
from configs.settings import Settings


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loaded]:
    """Return a function that loads the settings of a command where `tmp_path` is the project."""
    monkeypatch.setattr(loading, "PROJECT", tmp_path)

    def loaded(*words: str, falls_back_to_demo: bool = True) -> Loaded:
        return load_with_dataset(parse_words([*words]), falls_back_to_demo)

    return loaded


@pytest.fixture
def settings_for(load: Callable[..., Loaded]) -> Callable[..., Settings]:
    """Return a function that gives only the settings."""
    return lambda *words, **demo: load(*words, **demo).settings


def test_without_data_the_demo_is_drawn_and_says_so(
    load: Callable[..., Loaded], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load()
    before = capsys.readouterr().out
    loaded.announce()

    assert (loaded.settings.dataset.reader, loaded.settings.classifier.weights) == ("drawn", "none")
    assert before == ""
    assert "DEMO" in capsys.readouterr().out


def test_data_in_the_data_folder_is_used(
    load: Callable[..., Loaded],
    tmp_path: Path,
    write_faces: Callable[..., Path],
) -> None:
    write_faces(tmp_path / "data" / "happy", 1)

    loaded = load()

    assert (loaded.settings.dataset.reader, loaded.settings.classifier.weights) == ("folder", "imagenet")
    assert loaded.notice == ""


@pytest.mark.parametrize("path", ["nowhere", "data", "~/data"])
def test_a_path_that_was_named_is_never_replaced_by_the_demo(
    path: str, settings_for: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(UserError, match=rf"dataset\.path /.*{Path(path).name} does not exist"):
        settings_for("--dataset.path", path)


def test_a_path_in_the_environment_or_a_file_of_settings_is_named_too(
    settings_for: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("dataset: {path: data}", encoding="utf-8")
    with pytest.raises(UserError, match=r"dataset\.path"):
        settings_for("--config", str(tmp_path / "mine.yaml"))

    monkeypatch.setenv("FACE_EMOTION__DATASET__PATH", "data")
    with pytest.raises(UserError, match=r"dataset\.path"):
        settings_for()


def test_a_typed_path_starts_where_the_user_is(
    settings_for: Callable[..., Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_faces: Callable[..., Path],
) -> None:
    here = tmp_path / "here"
    write_faces(here / "data" / "happy", 1)
    write_faces(tmp_path / "data" / "sad", 1)
    monkeypatch.chdir(here)

    assert settings_for().dataset.path == tmp_path / "data"
    assert settings_for("--dataset.path", "data").dataset.path == here / "data"


def test_only_training_falls_back_to_drawn_faces(settings_for: Callable[..., Settings]) -> None:
    with pytest.raises(UserError, match=r"dataset\.path .*data does not exist"):
        settings_for(falls_back_to_demo=False)


@pytest.mark.parametrize("name", ["README.md", ".gitkeep"])
def test_a_folder_that_is_empty_but_for_its_readme_gives_the_demo(
    name: str, settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("a text", encoding="utf-8")

    assert settings_for().dataset.reader == "drawn"


@pytest.mark.parametrize("name", ["faces.rar", "labels.txt", "fer2013.parquet"])
def test_what_is_not_recognised_is_an_error_and_not_the_demo(
    name: str, settings_for: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"\0whatever this is")

    with pytest.raises(UserError, match=rf"data holds no data set that is recognised; found 1 file .*{name}"):
        settings_for()
