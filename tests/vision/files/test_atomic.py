import contextlib
from pathlib import Path

import pytest

from vision.files.atomic import write_file, write_folder


def test_a_file_keeps_its_former_content_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_file(path, fail)

    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_file_is_written_under_its_own_suffix(tmp_path: Path) -> None:
    suffixes = []

    def write(unfinished: Path) -> None:
        suffixes.append(unfinished.suffix)
        unfinished.write_text("whole")

    write_file(tmp_path / "model.keras", write)

    assert (tmp_path / "model.keras").read_text() == "whole"
    assert suffixes == [".keras"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with contextlib.suppress(ValueError), write_folder(tmp_path / "one") as folder:
        (folder / "a").write_text("a")
        raise ValueError("stop")
    with write_folder(tmp_path / "two") as folder:
        (folder / "a").write_text("a")

    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["two", "two/a"]
