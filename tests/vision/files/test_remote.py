import errno
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from vision.files.remote import FETCHED, Allowed, fetch, look_at

fsspec: Any = pytest.importorskip("fsspec", reason="fsspec comes with make setup-servers")
ENOUGH = Allowed("dataset.path", 100, 10_000, "dataset.max_images")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty store in memory, and an empty folder for what is fetched."""
    monkeypatch.setenv(FETCHED, str(tmp_path / "fetched"))
    memory = fsspec.filesystem("memory")
    yield memory
    memory.rm("/", recursive=True)


def test_an_object_is_fetched_once(store: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store.pipe("/bucket/faces.zip", b"a zip")

    places = [fetch("memory://bucket/faces.zip", ENOUGH) for _ in range(2)]

    assert places[0] == places[1]
    assert (places[0].name, places[0].read_bytes()) == ("faces.zip", b"a zip")
    assert caplog.text.count("is fetched: 1 object,") == 1


def test_an_object_that_has_changed_is_fetched_again(store: Any) -> None:
    store.pipe("/bucket/faces.zip", b"a zip")
    fetch("memory://bucket/faces.zip", ENOUGH)
    store.pipe("/bucket/faces.zip", b"another")

    assert fetch("memory://bucket/faces.zip", ENOUGH).read_bytes() == b"another"


def test_a_prefix_becomes_a_folder_of_its_name(store: Any) -> None:
    store.pipe({"/bucket/faces/train/happy/a.png": b"a", "/bucket/faces/train/sad/b.png": b"b", "/bucket/other": b"c"})

    folder = fetch("memory://bucket/faces/", ENOUGH)

    assert folder.name == "faces"
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}
    assert found == {"train/happy/a.png": b"a", "train/sad/b.png": b"b"}


def test_the_fingerprint_of_a_prefix_changes_with_its_objects(store: Any) -> None:
    store.pipe("/bucket/faces/a.png", b"a")
    before = look_at("memory://bucket/faces", ENOUGH).fingerprint
    same = look_at("memory://bucket/faces", ENOUGH).fingerprint
    store.pipe("/bucket/faces/b.png", b"b")

    assert before == same != look_at("memory://bucket/faces", ENOUGH).fingerprint


def test_a_download_that_breaks_off_leaves_nothing_under_the_name(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe("/bucket/faces.zip", b"a zip")

    def break_off(self: Any, source: str, target: str, **_: Any) -> None:
        Path(target).write_bytes(b"a z")
        raise ConnectionResetError("reset by peer")

    with monkeypatch.context() as broken:
        broken.setattr(type(store), "get_file", break_off)
        with pytest.raises(UserError, match=r"dataset\.path memory://bucket/faces\.zip cannot be read: reset by peer"):
            fetch("memory://bucket/faces.zip", ENOUGH)

    assert fetch("memory://bucket/faces.zip", ENOUGH).read_bytes() == b"a zip"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("memory://bucket/missing.zip", "does not exist"),
        ("nostore://bucket/faces", "nostore:// is not a store that is known"),
        ("https://example.org/faces.zip", "is a web address"),
        ("s3://key:secret@bucket/faces.zip", "s3://bucket/faces.zip has a login"),
        ("memory://bucket/faces.zip?version=1", "has a login or a question mark"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_in_one_sentence(store: Any, address: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(address, ENOUGH)

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("allowed", "said"), [((1, 100), "2 objects, more than 1"), ((9, 1), "2 bytes, more than 1")])
def test_more_than_is_allowed_is_not_fetched(store: Any, allowed: tuple[int, int], said: str, tmp_path: Path) -> None:
    store.pipe({"/bucket/faces/a.png": b"a", "/bucket/faces/b.png": b"b"})

    with pytest.raises(UserError, match=said):
        fetch("memory://bucket/faces", Allowed("dataset.path", *allowed, "dataset.max_images"))

    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (["../../../home/a.png"], "is not a name below it"),
        (["a", "a/b"], "'a' and objects below it"),
    ],
    ids=["leads out of the folder", "is a folder too"],
)
def test_names_that_no_folder_can_hold_are_refused(
    store: Any, monkeypatch: pytest.MonkeyPatch, listed: list[str], told: str
) -> None:
    store.pipe("/bucket/faces/a", b"a")
    found = {f"/bucket/faces/{name}": {"size": 1, "type": "file"} for name in listed}
    with monkeypatch.context() as hostile:
        hostile.setattr(type(store), "find", lambda *_, **__: found)
        with pytest.raises(UserError, match=told):
            fetch("memory://bucket/faces", ENOUGH)


def test_a_full_disk_keeps_its_own_error(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe("/bucket/faces.zip", b"a zip")

    def fill(self: Any, source: str, target: str, **_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(store), "get_file", fill)
    with pytest.raises(OSError, match="No space left"):
        fetch("memory://bucket/faces.zip", ENOUGH)


def test_without_the_packages_the_sentence_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)

    with pytest.raises(UserError, match=r"the package for s3:// is missing; run `make setup-servers`"):
        look_at("s3://bucket/faces.zip", ENOUGH)
