import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from tests.vision.inference.toy_jobs import MODEL, SIDE, TOY, inference_settings, predict_toy, run_job, table_of
from vision.data import blazeface_detector
from vision.data.face_detection import FoundFaces
from vision.files import atomic
from vision.inference import face_cuts, job
from vision.inference.inputs import open_pictures
from vision.inference.job import job_folder, predict_pictures
from vision.inference.pictures import RawPicture
from vision.inference.summary import UsedModel
from vision.model.onnx_runtime import Predictor

PROJECT = Path(__file__).resolve().parents[3]


@contextmanager
def crash_at(write: int) -> Iterator[list[Path]]:
    """Let the block stop, as a process at kill -9, when it has written its n-th file, but not yet given it its name.

    Gives a list of what it leaves: the unfinished file, with the number of another process.
    """
    files = iter(range(1, 1000))
    left: list[Path] = []
    content = b""

    def stop(path: Path) -> None:
        nonlocal content
        if next(files) == write:
            content = path.read_bytes()
            left.append(path.with_name(path.name.replace(str(os.getpid()), "1", 1)))
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic, "wait_for_disk", stop)
        with suppress(KeyboardInterrupt):
            yield left
    for path in left:
        path.write_bytes(content)


def find_drawn_faces(picture: np.ndarray, settings: InferenceSettings) -> FoundFaces:
    """Find the faces that write_photos drew on its grey background."""
    places = [(30 + 220 * place, 20, 160, 160) for place in (0, 1) if picture[100, 110 + 220 * place, 0] != 90]
    boxes = np.array(places, dtype=np.int64).reshape(-1, 4)
    return FoundFaces(boxes, np.ones(len(boxes)), 0, np.zeros(len(boxes)))


def test_a_job_that_stops_at_any_file_resumes_without_losing_or_repeating_a_picture(
    tmp_path: Path,
    write_photos: Callable[..., Path],
    quick_figures: None,
    small_parts: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(face_cuts, "search_faces", find_drawn_faces)  # searching takes longer than all the rest
    root = write_photos(tmp_path / "photos", 1, 2, 0, 1, 1)
    options = {"detect": True, "annotated_pictures": 3, "batch_size": 2}
    whole, whole_folder = run_job(inference_settings(root, tmp_path / "whole", **options))
    expected = table_of(whole_folder)
    annotated = sorted(path.name for path in (whole_folder / "annotated").iterdir())

    stops = 0
    while True:
        settings = inference_settings(root, tmp_path / f"stopped{stops}", **options)
        with crash_at(stops + 1) as left:
            run_job(settings)
        if not left:
            break  # there are no more files at which it could stop
        assert left[0].exists()
        stops += 1
        report, folder = run_job(settings)
        assert not list(folder.rglob("unfinished-*"))
        pd.testing.assert_frame_equal(table_of(folder), expected)
        assert sorted(path.name for path in (folder / "annotated").iterdir()) == annotated
        assert report.numbers().keys() == whole.numbers().keys()
        assert report.emotions == whole.emotions
    assert expected["face"].tolist() == [0, 0, 1, -1, 0, 0]
    assert stops == 1 + 3 + len(annotated) + 5  # job.json, parts, pictures, two tables, page, mark and report


def test_a_killed_job_resumes_where_it_stopped(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_faces(tmp_path / "faces", 200, side=SIDE)
    monkeypatch.setattr(job, "CROPS_A_PART", 64)
    line = (
        "import sys, types; sys.modules['vision.model.runtimes'] = types.SimpleNamespace("
        "Predictor=types.SimpleNamespace); "  # the real one needs TensorFlow, whose import takes seconds
        "from tests.vision.inference.toy_jobs import run_slowly; "
        f"run_slowly({str(root)!r}, {str(tmp_path / 'out')!r}, 64)"
    )
    process = subprocess.Popen([sys.executable, "-c", line], cwd=PROJECT, stderr=subprocess.DEVNULL)
    settings = inference_settings(root, tmp_path / "out", batch_size=16)
    pictures = open_pictures(settings)
    folder = job_folder(settings, pictures, MODEL)
    deadline = time.monotonic() + 60
    while not list(folder.glob("parts/0*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [path.read_bytes() for path in sorted(folder.glob("parts/0*.parquet"))]
    read: list[int] = []

    def count(start: int, stop: int) -> Iterator[RawPicture]:
        read.extend(range(start, stop))
        return pictures.reader(start, stop)

    report = predict_pictures(TOY, MODEL, replace(pictures, reader=count), settings, folder)

    uninterrupted, whole = run_job(inference_settings(root, tmp_path / "whole", batch_size=16))
    assert 1 <= len(done) < 4
    assert read == list(range(len(done) * 64, 200))
    pd.testing.assert_frame_equal(table_of(folder), table_of(whole))
    assert (folder / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert report.pictures == uninterrupted.pictures == 200
    assert not (folder / "parts").exists()


def test_a_finished_job_does_no_work_and_reports_the_same(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    pictures = open_pictures(settings)
    report, folder = run_job(settings)
    (folder / "parts").mkdir()  # as if it was killed while it removed them
    os.utime(folder / "report.json", (0, 0))
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}

    def fail(start: int, stop: int) -> Iterator[RawPicture]:
        raise AssertionError("a picture was read")

    again = predict_pictures(TOY, MODEL, replace(pictures, reader=fail), settings, folder)

    assert again.finished_before == "1970-01-01 00:00 UTC"
    assert replace(again, finished_before="") == report
    assert not (folder / "parts").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path in files} == files


def test_a_finished_job_whose_table_was_removed_is_done_again(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    _, folder = run_job(settings)
    expected = table_of(folder)
    (folder / "predictions.parquet").unlink()

    run_job(settings)

    pd.testing.assert_frame_equal(table_of(folder), expected)


def test_batch_size_and_workers_may_change_while_a_job_is_interrupted(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    quick_figures: None,
    small_parts: None,
) -> None:
    root = write_faces(tmp_path / "faces", 23)
    with crash_at(3) as left:
        run_job(inference_settings(root, tmp_path / "out", batch_size=4))
    assert left

    _, folder = run_job(inference_settings(root, tmp_path / "out", batch_size=3, workers=1))

    assert table_of(folder)["source"].tolist() == sorted(path.name for path in root.iterdir())


def test_jobs_that_would_give_other_results_have_other_folders(
    tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    settings = inference_settings(write_faces(tmp_path / "my faces (1)", 3), tmp_path / "out", detect=True)
    pictures = open_pictures(settings)

    def folder(model: UsedModel = MODEL, **changes: Any) -> Path:
        return job_folder(settings.model_copy(update=changes), pictures, model)

    assert folder().parent == tmp_path / "out"
    assert folder().name.startswith("my-faces-1-")
    assert folder() == folder(batch_size=7) == folder(workers=1) == folder(input="./faces")
    models = [folder(replace(MODEL, version="4")), folder(replace(MODEL, sha256="of another store's version 3"))]
    others = [folder(detect=False), folder(margin=0.3), folder(confidence_threshold=0.9), folder(runtime="onnx")]
    others += [folder(detector="haar"), folder(blazeface=settings.blazeface.model_copy(update={"min_score": 0.9}))]
    assert len({folder(), *models, *others}) == 9
    cascade = settings.haar.model_copy(update={"min_neighbors": 9})
    assert folder(haar=cascade) == folder()  # BlazeFace finds the same faces
    assert folder(haar=cascade, detector="haar") != folder(detector="haar")


def test_an_altered_detector_ends_a_job_instead_of_becoming_the_reason_of_each_picture(
    tmp_path: Path, write_photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blazeface_detector, "MODEL_SHA256", "of another file")
    blazeface_detector._network.cache_clear()

    with pytest.raises(UserError, match="is not the file that belongs to this version"):
        run_job(inference_settings(write_photos(tmp_path / "photos", 1), tmp_path / "out", detect=True))


def test_the_folder_of_another_job_is_refused(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    pictures = open_pictures(settings)
    _, folder = run_job(settings)

    with pytest.raises(UserError, match="belongs to another job, whose input, model or settings differ"):
        predict_pictures(TOY, replace(MODEL, version="4"), pictures, settings, folder)


def test_a_folder_with_other_files_is_refused(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")

    with pytest.raises(UserError, match=r"faces holds face0\.png, but no job\.json"):
        predict_pictures(TOY, MODEL, open_pictures(settings), settings, tmp_path / "faces")


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    (tmp_path / "out").write_text("a file")

    with pytest.raises(UserError, match=r"inference\.output: .*out/faces-\w{10} cannot be written: Not a directory"):
        run_job(inference_settings(write_faces(tmp_path / "faces", 1), tmp_path / "out"))


def test_two_runs_never_work_on_the_same_job(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    quick_figures: None,
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    refused = []

    def predict_while_another_starts(faces: np.ndarray, batch_size: int) -> np.ndarray:
        with pytest.raises(UserError, match="is in use: another run works on the same pictures") as raised:
            run_job(settings)
        refused.append(raised)
        return predict_toy(faces, batch_size)

    run_job(settings, Predictor(SIDE, predict_while_another_starts))

    assert len(refused) == 1


def test_a_log_shows_how_far_a_job_is(
    tmp_path: Path,
    write_faces: Callable[..., Path],
    quick_figures: None,
    small_parts: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(job, "LOG_SECONDS", 0.0)
    caplog.set_level(logging.INFO)

    run_job(inference_settings(write_faces(tmp_path / "faces", 10), tmp_path / "out", batch_size=4))

    lines = [record.getMessage() for record in caplog.records if record.name == "vision.inference.job"]
    assert [line.split(",")[0] for line in lines] == [f"faces: {n} of 10 pictures" for n in (4, 8, 10)]
    assert lines[0].endswith(" left")
