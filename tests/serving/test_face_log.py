from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest

from configs.errors import UserError
from serving.face_log import FaceLog
from serving.metrics import Metrics
from serving.served_model import ServedModel
from tests.serving.conftest import Running, settings_with
from vision.lifecycle.drift import PROPERTIES
from vision.lifecycle.served_faces import FILES, append_rows, delete_old, holds_served_faces, hour_file, read_served

COLUMNS = {"time", "brightness", "contrast", "sharpness", "size", "emotion", "confidence", "version"}
NOW = datetime(2026, 11, 27, 21, 30, tzinfo=UTC)


def row(version: str = "3", time: datetime = NOW) -> dict[str, object]:
    return {"time": time, "brightness": 100.0, "contrast": 20.0, "sharpness": 5.0, "size": 80, "emotion": "happy",
            "confidence": 0.9, "version": version}  # fmt: skip


def test_each_answered_face_is_a_row_without_pixels_boxes_or_address(
    serve: Callable[..., Running], photo: bytes, tmp_path: Path
) -> None:
    running = serve(log=True, log_folder=tmp_path)
    faces = running.client.post("/v1/emotions", content=photo).json()["faces"]
    assert running.service.log is not None
    running.service.log.write()

    (file,) = tmp_path.glob(FILES)
    table = pd.read_parquet(file)
    assert set(table.columns) == COLUMNS
    assert set(PROPERTIES) <= COLUMNS
    assert list(table["emotion"]) == [face["emotion"] for face in faces]
    assert set(table["version"]) == {"3"}


@pytest.mark.parametrize(("datatype", "level"), [("UINT8", 7), ("FP32", 6.6)])
def test_crops_are_rows_too(serve: Callable[..., Running], tmp_path: Path, datatype: str, level: float) -> None:
    running = serve(log=True, log_folder=tmp_path)
    tensor = {"name": "faces", "shape": [2, 48, 48, 1], "datatype": datatype, "data": [level] * 2 * 48 * 48}
    answer = running.client.post("/v2/models/emotions/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200
    assert running.service.log is not None

    assert [(row["size"], row["brightness"]) for row in running.service.log.rows] == [(48, 7.0), (48, 7.0)]


def test_by_default_nothing_is_written(serve: Callable[..., Running], photo: bytes, tmp_path: Path) -> None:
    running = serve(log_folder=tmp_path / "served")
    running.client.post("/v1/emotions", content=photo)

    assert running.service.log is None
    assert not (tmp_path / "served").exists()


def test_rows_of_an_hour_are_in_its_file(tmp_path: Path) -> None:
    for minutes in (0, 20, 40):
        time = NOW + timedelta(minutes=minutes)
        append_rows(hour_file(tmp_path, time), [row(time=time)])

    assert {path.name: len(pd.read_parquet(path)) for path in tmp_path.glob(FILES)} == {
        "served-20261127T21.parquet": 2,
        "served-20261127T22.parquet": 1,
    }


def test_files_older_than_the_setting_are_deleted(tmp_path: Path) -> None:
    for days in (0, 29, 31, 400):
        append_rows(hour_file(tmp_path, NOW - timedelta(days=days)), [row()])

    assert delete_old(tmp_path, 30, NOW) == 2
    assert len(list(tmp_path.glob(FILES))) == 2


def test_rows_of_other_versions_are_counted_and_left_out(tmp_path: Path) -> None:
    append_rows(hour_file(tmp_path, NOW), [row("3"), row("4"), row("3")])

    table, others = read_served(tmp_path, "3")

    assert (len(table), others) == (2, 1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    hour_file(tmp_path, NOW).write_bytes(b"not Parquet")

    assert holds_served_faces(tmp_path)
    with pytest.raises(UserError, match="served-20261127T21"):
        read_served(tmp_path, "3")


def test_two_services_do_not_write_to_one_folder(tmp_path: Path) -> None:
    settings = settings_with(log=True, log_folder=tmp_path).serving
    first = FaceLog(settings, Metrics())

    with pytest.raises(UserError, match=r"serving\.log_folder"):
        FaceLog(settings, Metrics())
    first.close()


def test_rows_that_cannot_be_written_are_kept_and_written_later(
    serve: Callable[..., Running], photo: bytes, tmp_path: Path
) -> None:
    running = serve(log=True, log_folder=tmp_path)
    running.client.post("/v1/emotions", content=photo)
    assert running.service.log is not None
    in_the_way = hour_file(tmp_path, datetime.now(UTC))
    in_the_way.mkdir()
    running.service.log.write()
    kept = len(running.service.log.rows)
    in_the_way.rmdir()
    running.service.log.write()

    assert (kept, len(running.service.log.rows)) == (2, 0)
    assert len(pd.read_parquet(in_the_way)) == 2


@pytest.fixture
def log(tmp_path: Path, model: ServedModel) -> Iterator[FaceLog]:
    """A log that has two faces to write."""
    log = FaceLog(settings_with(log=True, log_folder=tmp_path).serving, Metrics())
    log.add_crops(np.zeros((2, 48, 48)), np.full((2, 7), 1 / 7), model)
    yield log
    log.stopping.set()
    log.held.close()


def figures(log: FaceLog) -> tuple[float | None, float | None]:
    names = ("logged", "not_logged")
    logged, lost = (log.metrics.registry.get_sample_value(f"face_emotion_{name}_faces_total") for name in names)
    return logged, lost


def fail(*arguments: object) -> None:
    raise ValueError("of nobody's making")


def test_rows_that_the_end_cannot_write_are_counted_and_said(
    log: FaceLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hour_file(tmp_path, datetime.now(UTC)).mkdir()

    log.close()

    assert figures(log) == (0, 2)
    assert f"2 faces are missing in {tmp_path}" in caplog.text


def test_rows_outlive_an_error_that_nothing_expected(log: FaceLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("vision.lifecycle.served_faces.append_rows", fail)
        log.write()
    kept = len(log.rows)
    log.close()

    assert (kept, figures(log)) == (2, (2, 0))


def test_the_thread_outlives_an_error_that_nothing_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice, tries = Event(), []

    def fail_again(*arguments: object) -> None:
        tries.append(arguments)
        if len(tries) == 2:
            twice.set()
        fail()

    monkeypatch.setattr("vision.lifecycle.served_faces.delete_old", fail_again)
    monkeypatch.setattr("serving.face_log.SECONDS", 0.01)
    log = FaceLog(settings_with(log=True, log_folder=tmp_path).serving, Metrics())

    assert twice.wait(10)
    log.close()


def test_rows_that_are_too_many_to_keep_are_counted(
    log: FaceLog, model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.face_log.MOST_ROWS", 3)

    log.add_crops(np.zeros((4, 48, 48)), np.full((4, 7), 1 / 7), model)

    assert (len(log.rows), figures(log)) == (3, (0, 3))
