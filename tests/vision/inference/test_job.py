import io
import logging
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from configs.errors import UserError
from configs.loading import load_settings
from configs.settings import InferenceSettings
from vision.data.synthetic import EXPRESSIONS, draw_face
from vision.inference import job as inference
from vision.inference import result_table as predictions
from vision.inference.inputs import RawPicture, open_pictures
from vision.inference.job import InferenceReport, UsedModel, job_folder, predict_pictures
from vision.model import runtimes as predictors
from vision.model.classifier import predict
from vision.model.runtimes import keras_predictor

PROJECT = Path(__file__).resolve().parents[3]
NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
MODEL = UsedModel("3", NAMES, "hash of its file")
COLUMNS = [
    *("source", "face", "x", "y", "width", "height", "emotion", "most_likely", "confidence"),
    *(f"probability_{name}" for name in NAMES),
    *("brightness", "contrast", "sharpness", "size", "model_version", "error"),
]  # fmt: skip


def toy_classifier() -> keras.Model:
    """A classifier in little: it resizes inside, and gives probabilities that differ from face to face."""
    keras.utils.set_random_seed(0)
    faces = keras.Input((None, None, 1))
    x = keras.layers.Resizing(24, 24, name="resize")(faces)
    x = keras.layers.Rescaling(1 / 32)(x)
    x = keras.layers.Dense(7, activation="softmax")(keras.layers.Flatten()(x))
    return keras.Model(faces, x)


def inference_settings(given: Path, output: Path, **changes: Any) -> InferenceSettings:
    base = load_settings([], {}).inference
    return base.model_copy(update={"input": str(given), "output": output, "detect": False, "workers": 2, **changes})


def run_job(classifier: keras.Model, settings: InferenceSettings) -> tuple[InferenceReport, Path]:
    pictures = open_pictures(settings)
    folder = job_folder(settings, pictures, MODEL)
    return predict_pictures(keras_predictor(classifier), MODEL, pictures, settings, folder), folder


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "predictions.parquet")


def run_slowly(given: str, output: str) -> None:
    """Run the job of test_a_killed_job..., so slowly that it can be killed on the way. Runs in a process of its own."""
    predicted = predictors.predict

    def predict_slowly(*arguments: Any) -> np.ndarray:
        time.sleep(0.3)
        return predicted(*arguments)

    predictors.predict = predict_slowly
    run_job(toy_classifier(), inference_settings(Path(given), Path(output), batch_size=16))


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    return toy_classifier()


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out where it is not what is tested: it takes longer than all the rest."""
    for name in ("plots.emotion_counts", "plots.confidence_histogram", "job.labelled_faces"):
        monkeypatch.setattr(f"vision.inference.{name}", lambda *_: b"a figure")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CROPS_A_PART", 4)
    monkeypatch.setattr(inference, "PHOTOS_A_PART", 2)


@pytest.fixture
def write_photos() -> Callable[..., Path]:
    """Return a function that writes photos 0.png ... with as many drawn faces side by side as each number says."""

    def write(folder: Path, *counts: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, count in enumerate(counts):
            picture = np.full((200, 440, 3), 90, dtype=np.uint8)
            for place in range(count):
                face = draw_face(EXPRESSIONS["happy"], 160, 2.0, np.random.default_rng([0, place]))
                picture[20:180, 30 + 220 * place : 190 + 220 * place] = face[..., None] - number % 2
            cv2.imwrite(str(folder / f"{number}.png"), picture)
        return folder

    return write


def test_ready_made_crops_are_predicted_as_the_model_itself_does(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 11, side=24)
    images = np.stack([cv2.imread(str(path), 0) for path in sorted(root.iterdir())])
    expected = predict(classifier, images, 4)

    report, folder = run_job(classifier, inference_settings(root, tmp_path / "out", batch_size=4))

    table = table_of(folder)
    assert list(table.columns) == COLUMNS
    assert table["source"].tolist() == sorted(path.name for path in root.iterdir())
    np.testing.assert_allclose(table[[f"probability_{name}" for name in NAMES]], expected, rtol=1e-5)
    assert table["most_likely"].tolist() == [NAMES[code] for code in expected.argmax(axis=1)]
    np.testing.assert_allclose(table["confidence"], expected.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(table["brightness"], images.mean(axis=(1, 2)), rtol=1e-5)
    assert table[["face", "x", "y", "width", "height", "size"]].iloc[0].tolist() == [0, 0, 0, 24, 24, 24]
    assert (table["model_version"] == "3").all()
    assert (report.pictures, report.faces) == (11, 11)


def test_the_csv_holds_what_the_parquet_file_does(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 3)
    (root / "text.png").write_text("no picture")

    _, folder = run_job(classifier, inference_settings(root, tmp_path / "out"))

    read = pd.read_csv(folder / "predictions.csv", dtype={"model_version": "str"}, keep_default_na=True)
    text = ["emotion", "most_likely", "error"]
    pd.testing.assert_frame_equal(read.fillna(dict.fromkeys(text, "")), table_of(folder), check_dtype=False, rtol=1e-5)


def test_an_answer_below_the_threshold_is_uncertain_and_still_says_what_is_most_likely(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 30)
    _, folder = run_job(classifier, inference_settings(root, tmp_path / "out", confidence_threshold=0.0))
    threshold = float(table_of(folder)["confidence"].median())

    report, folder = run_job(classifier, inference_settings(root, tmp_path / "out", confidence_threshold=threshold))

    table = table_of(folder)
    assert ((table["emotion"] == "uncertain") == (table["confidence"] < threshold)).all()
    assert report.uncertain == 15 == (table["emotion"] == "uncertain").sum()
    assert set(table["most_likely"]) <= set(NAMES)
    assert sum(report.emotions.values()) == 15


def test_every_picture_has_a_row_and_every_face_of_a_photo_its_own(
    classifier: keras.Model, tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None
) -> None:
    root = write_photos(tmp_path / "photos", 2, 0, 1)
    (root / "3.png").write_text("no picture")

    report, folder = run_job(classifier, inference_settings(root, tmp_path / "out", detect=True))

    table = table_of(folder)
    assert table[["source", "face"]].to_numpy().tolist() == [
        ["0.png", 0], ["0.png", 1], ["1.png", -1], ["2.png", 0], ["3.png", -1],
    ]  # fmt: skip
    assert table["error"].tolist()[:4] == ["", "", "no face found", ""]
    assert table["error"].iloc[4] == "ValueError: no image: the file starts with b'no pictu'"
    without = table[table["face"] < 0]
    assert without[["x", "width", "confidence", "probability_sad", "brightness", "size"]].isna().all(axis=None)
    assert (without["emotion"] == "").all()
    assert table["x"].iloc[0] < 200 < 220 < table["x"].iloc[1]
    assert (report.pictures, report.faces, report.without_face, report.unreadable) == (4, 3, 1, 1)
    assert report.errors == (("3.png", table["error"].iloc[4]),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "ValueError: the file is empty (0 bytes)"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "ValueError: no image: the file starts with b'%!PS-Ado'",
        ),
        (encoded(Image.new("L", (640, 480))), "ValueError: 640x480 pixels, more than inference.max_pixels 100000"),
        (encoded(Image.new("L", (64, 64), 9))[:-40], "truncated"),
        (bytes(70_000), "ValueError: 70000 bytes, more than inference.max_file_bytes 60000"),
    ],
    ids=["empty", "a program for Ghostscript", "too many pixels", "cut off", "too large"],
)
def test_what_cannot_be_read_is_a_row_with_the_reason(
    content: bytes, said: str, classifier: keras.Model, tmp_path: Path, quick_figures: None
) -> None:
    (tmp_path / "photo.png").write_bytes(content)
    settings = inference_settings(
        tmp_path / "photo.png", tmp_path / "out", max_pixels=100_000, max_file_bytes=60_000, detect=True
    )

    report, folder = run_job(classifier, settings)

    (row,) = table_of(folder).to_dict("records")
    assert said in row["error"]
    assert (row["source"], row["face"], report.unreadable) == ("photo.png", -1, 1)


def test_photos_with_faces_are_annotated_up_to_the_number_asked_for(
    classifier: keras.Model, tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None, small_parts: None
) -> None:
    root = write_photos(tmp_path / "photos", 0, 1, 1, 2, 1)

    report, folder = run_job(classifier, inference_settings(root, tmp_path / "out", detect=True, annotated_pictures=2))

    written = sorted((folder / "annotated").iterdir())
    assert [path.name for path in written] == ["000001-1.jpg", "000002-2.jpg"]
    assert report.annotated == 2
    with Image.open(written[0]) as annotated:
        assert annotated.size == (528, 240)  # enlarged, so that the label can be read
        plain = np.asarray(Image.open(root / "1.png").resize(annotated.size), dtype=float)
        assert np.abs(np.asarray(annotated, dtype=float) - plain).max(axis=2).max() > 80


@pytest.mark.parametrize(
    ("mode", "form", "options"),
    [
        ("I;16", "PNG", {}),
        ("CMYK", "JPEG", {"quality": 95}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("RGB", "WEBP", {}),
        ("F", "TIFF", {}),
    ],
)
def test_pictures_of_any_pixel_format_are_searched(
    mode: str, form: str, options: dict[str, Any], classifier: keras.Model, tmp_path: Path, quick_figures: None
) -> None:
    level = np.full((200, 300), 90, dtype=np.uint8)
    level[:, 50:250] = draw_face(EXPRESSIONS["happy"], 200, 2.0, np.random.default_rng(4))
    image = Image.fromarray(level)
    if mode in ("I;16", "F"):
        image = Image.fromarray(level.astype(np.uint16) * 257 if mode == "I;16" else level.astype(np.float32) / 255)
    (tmp_path / "photo.png").write_bytes(
        encoded(image if mode in ("I;16", "F") else image.convert(mode), form, **options)
    )

    _, folder = run_job(classifier, inference_settings(tmp_path / "photo.png", tmp_path / "out", detect=True))

    (error,) = table_of(folder)["error"]
    assert error == ""
    assert len(list((folder / "annotated").iterdir())) == 1


def test_a_turned_photo_is_searched_and_annotated_upright(
    classifier: keras.Model, tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None
) -> None:
    image = Image.open(write_photos(tmp_path / "photos", 1) / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    (tmp_path / "turned.jpg").write_bytes(encoded(image.rotate(90, expand=True), "JPEG", exif=exif, quality=95))

    _, folder = run_job(classifier, inference_settings(tmp_path / "turned.jpg", tmp_path / "out", detect=True))

    assert table_of(folder)["face"].tolist() == [0]
    with Image.open(next((folder / "annotated").iterdir())) as annotated:
        assert annotated.width > annotated.height


def test_frames_of_a_video_are_pictures(
    classifier: keras.Model, tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None
) -> None:
    photo = cv2.imread(str(write_photos(tmp_path / "photos", 2) / "0.png"))
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (440, 200)
    )
    for _ in range(15):
        writer.write(photo)
    writer.release()

    _, folder = run_job(classifier, inference_settings(tmp_path / "clip.avi", tmp_path / "out", detect=True))

    rows = table_of(folder)[["source", "face"]].to_numpy().tolist()
    assert rows == [["clip.avi#t=0.00s", 0], ["clip.avi#t=0.00s", 1], ["clip.avi#t=1.00s", 0], ["clip.avi#t=1.00s", 1]]


def test_hostile_names_stay_text(
    classifier: keras.Model, tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None
) -> None:
    photo = (write_photos(tmp_path / "photos", 1) / "0.png").read_bytes()
    names = ["../../../evil.png", "/etc/passwd.png", "=1+1.png", "a/b.png", "a_b.png", "n" * 300 + ".png", "CON.png"]
    names += ["<script>alert(1)</script>.png", 'quote"\n.png']
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in names:
            archive.writestr(name, photo)
        archive.writestr("<b>broken</b>.png", b"no picture")

    report, folder = run_job(classifier, inference_settings(tmp_path / "set.zip", tmp_path / "out", detect=True))

    annotated = list((folder / "annotated").rglob("*"))
    assert len(annotated) == len(names)
    assert all(path.parent == folder / "annotated" and len(path.name) < 100 for path in annotated)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "set.zip"]
    assert table_of(folder)["source"].tolist() == [*names[:-1], 'quote"\\n.png', "<b>broken</b>.png"]
    assert pd.read_csv(folder / "predictions.csv")["source"].tolist()[2] == "'=1+1.png"
    assert "&lt;b&gt;broken&lt;/b&gt;.png" in report.page()
    assert "<b>broken" not in report.page()


def crash_at(write: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process stop, as at kill -9, when it has written its n-th file, but not yet given it its name."""
    written = iter(range(1, 1000))
    sync = os.fsync

    def stop(descriptor: int) -> None:
        if next(written) == write:
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(predictions.os, "fsync", stop)


def test_a_job_that_stops_at_any_file_goes_on_without_losing_or_repeating_a_picture(
    classifier: keras.Model,
    tmp_path: Path,
    write_photos: Callable[..., Path],
    quick_figures: None,
    small_parts: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write_photos(tmp_path / "photos", 1, 2, 0, 1, 1)
    options = {"detect": True, "annotated_pictures": 3, "batch_size": 2}
    whole, whole_folder = run_job(classifier, inference_settings(root, tmp_path / "whole", **options))
    expected = table_of(whole_folder)
    annotated = sorted(path.name for path in (whole_folder / "annotated").iterdir())

    stops = 0
    while True:
        settings = inference_settings(root, tmp_path / f"stopped{stops}", **options)
        with monkeypatch.context() as patch:
            crash_at(stops + 1, patch)
            try:
                run_job(classifier, settings)
                break  # there are no more files at which it could stop
            except KeyboardInterrupt:
                stops += 1
        report, folder = run_job(classifier, settings)
        pd.testing.assert_frame_equal(table_of(folder), expected)
        assert sorted(path.name for path in (folder / "annotated").iterdir()) == annotated
        assert report.numbers().keys() == whole.numbers().keys()
        assert report.emotions == whole.emotions
    assert stops == 1 + 3 + len(annotated) + 4  # job.json, parts, pictures, two tables, page and report


def test_a_killed_job_goes_on_where_it_stopped(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    root = write_faces(tmp_path / "faces", 3100, side=24)
    line = (
        f"from tests.vision.inference.test_job import run_slowly; run_slowly({str(root)!r}, {str(tmp_path / 'out')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", line], cwd=PROJECT, stderr=subprocess.DEVNULL)
    settings = inference_settings(root, tmp_path / "out", batch_size=16)
    pictures = open_pictures(settings)
    folder = job_folder(settings, pictures, MODEL)
    deadline = time.monotonic() + 60
    while not list(folder.glob("parts/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [path.read_bytes() for path in sorted(folder.glob("parts/*.parquet"))]
    read: list[int] = []

    def count(start: int, stop: int) -> Iterator[RawPicture]:
        read.extend(range(start, stop))
        return pictures.reader(start, stop)

    report = predict_pictures(keras_predictor(classifier), MODEL, replace(pictures, reader=count), settings, folder)

    uninterrupted, whole = run_job(classifier, inference_settings(root, tmp_path / "whole", batch_size=16))
    assert 1 <= len(done) < 4
    assert read == list(range(len(done) * 1024, 3100))
    pd.testing.assert_frame_equal(table_of(folder), table_of(whole))
    assert (folder / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    assert report.pictures == uninterrupted.pictures == 3100
    assert not (folder / "parts").exists()


def test_a_finished_job_does_no_work_and_reports_the_same(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    pictures = open_pictures(settings)
    report, folder = run_job(classifier, settings)
    (folder / "parts").mkdir()  # as if it was killed while it removed them
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}

    def fail(start: int, stop: int) -> Iterator[RawPicture]:
        raise AssertionError("a picture was read")

    again = predict_pictures(keras_predictor(classifier), MODEL, replace(pictures, reader=fail), settings, folder)

    assert again == report
    assert not (folder / "parts").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path in files} == files


def test_a_finished_job_whose_table_was_removed_is_done_again(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    _, folder = run_job(classifier, settings)
    expected = table_of(folder)
    (folder / "predictions.parquet").unlink()

    run_job(classifier, settings)

    pd.testing.assert_frame_equal(table_of(folder), expected)


def test_batch_size_and_workers_may_change_while_a_job_is_interrupted(
    classifier: keras.Model,
    tmp_path: Path,
    write_faces: Callable[..., Path],
    quick_figures: None,
    small_parts: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write_faces(tmp_path / "faces", 23)
    with monkeypatch.context() as patch:
        crash_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run_job(classifier, inference_settings(root, tmp_path / "out", batch_size=4))

    _, folder = run_job(classifier, inference_settings(root, tmp_path / "out", batch_size=3, workers=1))

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
    assert len({folder(), *models, *others}) == 7


def test_the_folder_of_another_job_is_refused(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    pictures = open_pictures(settings)
    _, folder = run_job(classifier, settings)

    with pytest.raises(UserError, match="belongs to another job, whose input, model or settings differ"):
        predict_pictures(keras_predictor(classifier), replace(MODEL, version="4"), pictures, settings, folder)


def test_a_folder_with_other_files_is_refused(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")

    with pytest.raises(UserError, match=r"faces holds face0\.png, but no job\.json"):
        predict_pictures(keras_predictor(classifier), MODEL, open_pictures(settings), settings, tmp_path / "faces")


def test_an_output_that_cannot_be_written_is_refused(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    (tmp_path / "out").write_text("a file")

    with pytest.raises(UserError, match=r"inference\.output: .*out/faces-\w{10} cannot be written: Not a directory"):
        run_job(classifier, inference_settings(write_faces(tmp_path / "faces", 1), tmp_path / "out"))


def test_two_runs_never_work_on_the_same_job(
    classifier: keras.Model,
    tmp_path: Path,
    write_faces: Callable[..., Path],
    quick_figures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 3), tmp_path / "out")
    refused = []

    def predict_while_another_starts(*arguments: Any) -> np.ndarray:
        with pytest.raises(UserError, match="is in use: another run works on the same pictures") as raised:
            run_job(classifier, settings)
        refused.append(raised)
        return predict(*arguments)

    monkeypatch.setattr(predictors, "predict", predict_while_another_starts)
    run_job(classifier, settings)

    assert len(refused) == 1


def test_the_report_counts_shows_and_comes_back_from_its_facts(
    classifier: keras.Model, tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    root = write_faces(tmp_path / "faces", 5)
    (root / "text.png").write_text("no picture")

    report, folder = run_job(classifier, inference_settings(root, tmp_path / "out", confidence_threshold=0.0))

    numbers = report.numbers()
    assert (numbers["inference/pictures"], numbers["inference/faces"], numbers["inference/unreadable"]) == (6, 5, 1)
    assert sum(numbers[f"inference/emotion_{name}"] for name in NAMES) == 5
    assert numbers["inference/mean_confidence"] == pytest.approx(table_of(folder)["confidence"].mean(), rel=1e-5)
    assert InferenceReport.from_facts(report.facts(), report.figures) == report
    assert all(png.startswith(b"\x89PNG") for png in report.figures.values())
    assert (folder / "summary.html").read_text(encoding="utf-8") == report.page()


def test_pictures_without_any_face_make_a_report_too(
    classifier: keras.Model, tmp_path: Path, write_photos: Callable[..., Path]
) -> None:
    report, folder = run_job(
        classifier, inference_settings(write_photos(tmp_path / "photos", 0, 0), tmp_path / "out", detect=True)
    )

    assert (report.faces, report.mean_confidence, report.without_face) == (0, None, 2)
    assert "inference/mean_confidence" not in report.numbers()
    assert table_of(folder)["confidence"].isna().all()


def test_a_log_shows_how_far_a_job_is(
    classifier: keras.Model,
    tmp_path: Path,
    write_faces: Callable[..., Path],
    quick_figures: None,
    small_parts: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(inference, "LOG_SECONDS", 0.0)
    caplog.set_level(logging.INFO)

    run_job(classifier, inference_settings(write_faces(tmp_path / "faces", 10), tmp_path / "out", batch_size=4))

    lines = [record.getMessage() for record in caplog.records if record.name == "vision.inference.job"]
    assert [line.split(",")[0] for line in lines] == [f"faces: {n} of 10 pictures" for n in (4, 8, 10)]
    assert lines[0].endswith(" left")


def test_memory_does_not_grow_with_the_number_of_pictures(
    classifier: keras.Model, tmp_path: Path, quick_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = encoded(Image.new("L", (24, 24), 77))
    resident: list[int] = []

    def predict_and_measure(*arguments: Any) -> np.ndarray:
        resident.append(psutil.Process().memory_info().rss)
        return predict(*arguments)

    monkeypatch.setattr(predictors, "predict", predict_and_measure)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number in range(12_000):
            archive.writestr(f"{number}.png", picture)

    run_job(classifier, inference_settings(tmp_path / "set.zip", tmp_path / "out"))

    assert max(resident[3:]) - max(resident[:3]) < 15e6  # the first 3,000 pictures warm everything up
