import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import UserError
from vision.data.readers import open_dataset


def test_kaggle_without_its_package_says_what_to_install(
    tmp_path: Path, dataset_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)

    with pytest.raises(UserError, match="pip install kagglehub"):
        open_dataset(dataset_settings(tmp_path, reader="kaggle"), 0)


def test_what_kagglehub_downloads_is_read_under_its_name(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    dataset_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_faces(tmp_path / "versions" / "1" / "train" / "happy", 1)
    hub = SimpleNamespace(dataset_download=lambda name: str(tmp_path / "versions" / "1"))
    monkeypatch.setitem(sys.modules, "kagglehub", hub)

    reading = open_dataset(dataset_settings(tmp_path, reader="kaggle", kaggle_name="someone/faces"), 0)

    assert reading.name == "someone/faces"
    assert [(face.label, face.split) for face in reading.faces] == [("happy", "train")]


def test_a_failed_download_names_the_data_set_and_the_way_out(
    tmp_path: Path, dataset_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=fail))

    with pytest.raises(UserError, match=r"kaggle_name someone/faces: no route to host; .*--dataset\.path"):
        open_dataset(dataset_settings(tmp_path, reader="kaggle", kaggle_name="someone/faces"), 0)
