import logging
from pathlib import Path

import pytest

from stack.state_store import ArtifactStates
from vision.training.checkpoints import STATE, WEIGHTS


def write_state(folder: Path, epoch: int, best: int = 1) -> Path:
    """Make a folder look as a training leaves it after an epoch."""
    for old in folder.glob("*/*"):
        old.unlink()
    for old in folder.glob("*"):
        old.rmdir() if old.is_dir() else old.unlink()
    newest = folder / f"epoch-{epoch}"
    newest.mkdir(parents=True)
    (newest / WEIGHTS).write_text(f"weights {epoch}")
    (newest / STATE).write_text(f"state {epoch}")
    (folder / f"best-{best}.npz").write_text(f"best {best}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_newest_state_arrives_on_another_machine(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    writer = ArtifactStates(str(tmp_path / "store"))
    writer.push("key", write_state(here, 1))
    writer.push("key", write_state(here, 2, best=2))

    ArtifactStates(str(tmp_path / "store")).fetch("key", there)

    assert contents(there) == contents(here)
    assert set(contents(there)) == {f"epoch-2/{WEIGHTS}", f"epoch-2/{STATE}", "best-2.npz"}


def test_only_the_newest_state_is_kept_in_the_store(tmp_path: Path) -> None:
    writer = ArtifactStates(str(tmp_path / "store"))
    writer.push("key", write_state(tmp_path / "here", 1))
    writer.push("key", write_state(tmp_path / "here", 2, best=2))

    assert len(contents(tmp_path / "store")) == 3


def test_an_epoch_that_was_cut_off_on_its_way_is_not_taken(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    writer = ArtifactStates(str(tmp_path / "store"))
    writer.push("key", write_state(here, 1))
    half = tmp_path / "store" / "key" / writer.writer / "epoch-2"
    half.mkdir()
    (half / WEIGHTS).write_text("weights 2")

    ArtifactStates(str(tmp_path / "store")).fetch("key", there)

    assert contents(there) == contents(here)


def test_of_two_processes_that_train_the_same_the_furthest_state_is_taken(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    first, second = ArtifactStates(store), ArtifactStates(store)
    first.push("key", write_state(tmp_path / "one", 10))
    second.push("key", write_state(tmp_path / "two", 9))

    ArtifactStates(store).fetch("key", tmp_path / "there")

    assert contents(tmp_path / "there") == contents(tmp_path / "one")


def test_without_a_copy_there_is_nothing_to_fetch(tmp_path: Path) -> None:
    ArtifactStates(str(tmp_path / "store")).fetch("key", tmp_path / "there")

    assert not (tmp_path / "there").exists()


def test_a_training_that_has_arrived_leaves_nothing(tmp_path: Path) -> None:
    writer = ArtifactStates(str(tmp_path / "store"))
    writer.push("key", write_state(tmp_path / "here", 1))
    writer.push("other", tmp_path / "here")

    writer.forget("key")

    assert [path.name for path in (tmp_path / "store").iterdir()] == ["other"]


def test_a_store_that_does_not_take_a_state_is_logged_and_gets_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "store").write_text("in the way")
    writer = ArtifactStates(str(tmp_path / "store"))
    writer.push("key", write_state(tmp_path / "here", 1))
    (tmp_path / "store").unlink()
    writer.push("key", write_state(tmp_path / "here", 2))

    writer.fetch("key", tmp_path / "there")

    assert "does not take the state of this epoch" in caplog.text
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
