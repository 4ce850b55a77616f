"""ZenML's client is imitated here; tests/pipelines/test_training.py deletes artifacts of a real store."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stack.step_cache import forget_lost_steps


class Client:
    """Knows one finished run of a step, whose two artifacts are in `folder`; notes which runs are not used again."""

    def __init__(self, folder: Path) -> None:
        self.ended: dict[str, datetime] = {}
        self.active_stack = SimpleNamespace(artifact_store=SimpleNamespace(id="store", path=str(folder)))
        outputs = {}
        for name in ("faces", "report"):
            file = folder / name / "data.bin"
            file.parent.mkdir()
            file.write_bytes(bytes(10))
            outputs[name] = [
                SimpleNamespace(uri=str(file.parent), artifact_store_id="store", run_metadata={"storage_size": 10})
            ]
        self.runs = [SimpleNamespace(id="run", name="ingest_data", outputs=outputs)]

    def list_run_steps(self, **filters: Any) -> SimpleNamespace:
        asked = {"name": 'oneof:["ingest_data"]', "status": "completed", "cache_expired": False}
        assert asked.items() <= filters.items()
        return SimpleNamespace(items=self.runs, total_pages=1, index=1)

    def update_step_run(self, number: str, cache_expires_at: datetime) -> None:
        self.ended[number] = cache_expires_at


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(tmp_path)
    monkeypatch.setitem(sys.modules, "zenml.client", SimpleNamespace(Client=lambda: made))
    return made


def test_a_step_whose_files_are_there_comes_from_the_cache(client: Client) -> None:
    assert forget_lost_steps(["ingest_data"]) == []
    assert client.ended == {}


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(lambda folder: [path.unlink() for path in folder.iterdir()], id="emptied"),
        pytest.param(lambda folder: (folder / "data.bin").write_bytes(bytes(9)), id="cut off"),
        pytest.param(lambda folder: folder.rename(f"{folder}-moved"), id="gone"),
    ],
)
def test_a_step_that_has_lost_a_file_runs_again(
    lose: Callable[[Path], object], client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose(tmp_path / "report")

    lost = forget_lost_steps(["ingest_data"])

    assert lost == ["ingest_data"]
    assert client.ended["run"] <= datetime.now(UTC)
    assert f"files in {tmp_path} are gone" in caplog.text
    assert "ingest_data" in caplog.text


def test_an_artifact_store_elsewhere_is_not_looked_at(client: Client) -> None:
    client.active_stack.artifact_store.path = "s3://bucket/artifacts"
    client.runs[0].outputs["faces"][0].uri = "s3://bucket/artifacts/faces"

    assert forget_lost_steps(["ingest_data"]) == []
