from pathlib import Path

import pytest

from vision.lifecycle import releases


def test_the_newest_release_is_that_of_the_highest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "RELEASED", tmp_path)
    assert releases.newest_release() is None

    for version in ("1.9", "1.10", "0.11"):
        (tmp_path / f"face-emotion-{version}.zip").touch()

    assert releases.newest_release() == tmp_path / "face-emotion-1.10.zip"
