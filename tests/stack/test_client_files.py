from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.errors import UserError
from stack import client_files
from stack.client_files import receive_file, send_file


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the client, and an artifact store in a folder."""
    stack = SimpleNamespace(artifact_store=SimpleNamespace(path=str(tmp_path / "store")))
    monkeypatch.setattr(client_files, "Client", lambda: SimpleNamespace(active_stack=stack))
    file = tmp_path / "labels.csv"
    file.write_text("file,action,label\na,drop,\nb,drop,\n")
    return file


def test_a_file_arrives_under_its_name(sent: Path, tmp_path: Path) -> None:
    (tmp_path / "step").mkdir()

    received = receive_file(send_file(sent), tmp_path / "step")

    assert received == tmp_path / "step" / "labels.csv"
    assert received.read_bytes() == sent.read_bytes()


def test_a_file_that_was_sent_in_part_is_sent_again(sent: Path, tmp_path: Path) -> None:
    place = Path(send_file(sent))
    place.write_text("file,action,label\na,drop,\n")  # the disk was full

    assert receive_file(send_file(sent), tmp_path / "store").read_bytes() == sent.read_bytes()


def test_a_file_that_is_not_what_was_sent_is_not_read(sent: Path, tmp_path: Path) -> None:
    place = Path(send_file(sent))
    place.write_text("file,action,label\na,keep,\nb,keep,\n")

    with pytest.raises(UserError, match="is not what was sent; delete it"):
        receive_file(str(place), tmp_path)
