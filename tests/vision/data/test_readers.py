import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import UserError
from vision.data.readers import locate_dataset, open_dataset, source_fingerprint
from vision.data.sources import find_dataset
from vision.files.remote import FETCHED


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing", None, "does not exist"),
        ("half.zip", b"PK\x03\x04 and then nothing", "is not a readable zip or tar file"),
        ("half.tar.gz", b"\x1f\x8b\x08\x00 and then nothing", "is not a readable zip or tar file"),
        ("faces.parquet", b"PAR1", "is a file of unknown kind"),
        ("faces.csv", b"a,b\n1,2\n", "has no column emotion and pixels"),
        ("faces.csv", b"", "found ''"),
        ("faces.csv", b"\x1b[31m\x07\n", r"found '\\x1b\[31m\\x07'"),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_path(
    name: str, content: bytes | None, said: str, tmp_path: Path, dataset_settings: Callable[..., Any]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(UserError, match=said) as raised:
        list(open_dataset(dataset_settings(tmp_path / name), 0).faces)

    assert str(tmp_path / name) in str(raised.value)


def test_an_empty_folder_is_refused(tmp_path: Path, dataset_settings: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="holds no data set; expected class folders"):
        open_dataset(dataset_settings(tmp_path), 0)


def test_a_folder_with_one_archive_is_that_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        archive.writestr("happy/a.png", b"")

    assert find_dataset(tmp_path) == ("archive", tmp_path / "faces.zip")


def test_two_data_sets_side_by_side_must_be_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "b.csv").write_bytes(b"")

    with pytest.raises(UserError, match=r"more than one data set \(a\.zip, b\.csv\); choose one with --dataset\.path"):
        find_dataset(tmp_path)


def test_a_folder_with_nothing_but_hidden_files_holds_no_data_set(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").write_bytes(b"")

    assert find_dataset(tmp_path) is None


def test_the_fingerprint_of_a_source_changes_with_its_files(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "happy", 2)
    before = source_fingerprint(dataset_settings(tmp_path))
    unchanged = source_fingerprint(dataset_settings(tmp_path))

    write_faces(tmp_path / "happy", 3)

    assert before == unchanged
    assert source_fingerprint(dataset_settings(tmp_path)) != before


def test_the_fingerprint_of_kaggles_data_set_changes_with_its_version(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    dataset_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = dataset_settings(tmp_path, reader="kaggle", kaggle_name="someone/faces")
    found = []
    for version in ("1", "1", "2"):
        write_faces(tmp_path / version / "happy", int(version))
        hub = SimpleNamespace(dataset_download=lambda name, version=version: str(tmp_path / version))
        monkeypatch.setitem(sys.modules, "kagglehub", hub)
        os.utime(tmp_path / version / "happy" / "face0.png", (0, 0))
        found.append(source_fingerprint(settings))

    assert found[0] == found[1] != found[2]


def test_a_link_to_nowhere_has_a_fingerprint_as_it_has_a_row(
    tmp_path: Path, write_faces: Callable[..., Path], dataset_settings: Callable[..., Any]
) -> None:
    write_faces(tmp_path / "happy", 1)
    before = source_fingerprint(dataset_settings(tmp_path))
    (tmp_path / "happy" / "gone.png").symlink_to(tmp_path / "nowhere")

    assert source_fingerprint(dataset_settings(tmp_path)) != before
    assert len(list(open_dataset(dataset_settings(tmp_path), 0).faces)) == 2


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, dataset_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, onerror: Callable[[OSError], None], followlinks: bool) -> Any:
        onerror(PermissionError(13, "Permission denied", str(tmp_path / "closed")))

    monkeypatch.setattr(os, "walk", fail)  # root may read everything

    with pytest.raises(UserError, match=r"dataset\.path .*closed cannot be read: Permission denied"):
        source_fingerprint(dataset_settings(tmp_path))


def test_a_data_set_behind_an_address_is_read_as_if_it_were_here(
    dataset_settings: Callable[..., Any],
    write_faces: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fsspec: Any = pytest.importorskip("fsspec", reason="fsspec comes with make setup-servers")
    monkeypatch.setenv(FETCHED, str(tmp_path / "fetched"))
    write_faces(tmp_path / "faces" / "train" / "happy", 3)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "faces"), "/bucket/faces", recursive=True)
    settings = dataset_settings("memory://bucket/faces")

    here = open_dataset(dataset_settings(tmp_path / "faces"), seed=1)
    fetched = open_dataset(locate_dataset(settings), seed=1)

    assert [face.payload for face in fetched.faces] == [face.payload for face in here.faces]
    assert (fetched.name, fetched.form, fetched.count) == (here.name, here.form, 3)
    before = source_fingerprint(settings)
    memory.pipe("/bucket/faces/train/happy/more.png", b"more")
    assert source_fingerprint(settings) != before
    memory.rm("/", recursive=True)
