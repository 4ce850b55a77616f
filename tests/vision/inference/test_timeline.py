import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from configs.inference_settings import InferenceSettings
from tests.vision.inference.toy_jobs import NAMES, inference_settings, run_job
from vision.data.face_detection import NO_FACE
from vision.inference.pictures import Pictures
from vision.inference.result_table import write_part
from vision.inference.timeline import follow_table, write_timeline

Sighting = tuple[int, int, str, float]  # frame, x, emotion and its probability


def write_rows(path: Path, frames: int, *sightings: Sighting, unreadable: int = -1) -> Path:
    """Write a table of predictions with the faces of 100 pixels that were seen."""
    rows = []
    for frame in range(frames):
        seen = [sighting for sighting in sightings if sighting[0] == frame]
        common = {"source": f"clip.mp4#t={frame}s", "emotion": "", "most_likely": "", "model_version": "3"}
        for number, (_, x, emotion, probability) in enumerate(seen):
            shares = {f"probability_{name}": (1 - probability) / (len(NAMES) - 1) for name in NAMES}
            place = dict(zip(("x", "y", "width", "height"), (x, 50, 100, 100), strict=True))
            rows.append(
                {**common, **place, **shares, "face": number, f"probability_{emotion}": probability, "error": ""}
            )
        if not seen:
            rows.append({**common, "face": -1, "error": "cut off" if frame == unreadable else NO_FACE})
    write_part(path, rows, NAMES)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> InferenceSettings:
    return inference_settings(tmp_path / "clip.mp4", tmp_path / "out")


def rows_of(page: str) -> list[list[str]]:
    """Return the cells of the page's table."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(<td.*?)</tr>", page, re.DOTALL)]


def video(frames: int, seconds_apart: float = 0.5) -> Pictures:
    return Pictures("clip.mp4", "video", "", frames, lambda *_: iter(()), seconds_apart=seconds_apart)


def test_a_frame_has_its_second_however_many_faces_are_in_it(tmp_path: Path, settings: InferenceSettings) -> None:
    table = write_rows(
        tmp_path / "rows.parquet", 4, (0, 0, "happy", 0.9), (0, 300, "sad", 0.9), (3, 10, "happy", 0.9), unreadable=2
    )

    timeline = follow_table(table, 0.5, settings, NAMES)

    assert timeline.seconds.tolist() == [0.0, 0.0, 1.5]
    assert timeline.numbers.tolist() == [1, 2, 1]
    assert (timeline.frames, timeline.without_face, timeline.unreadable) == (4, 1, 1)


def test_the_label_is_that_of_the_smoothed_probabilities(tmp_path: Path, settings: InferenceSettings) -> None:
    table = write_rows(
        tmp_path / "rows.parquet", 3, *((frame, 0, "sad" if frame == 1 else "happy", 0.9) for frame in range(3))
    )

    assert follow_table(table, 0.1, settings, NAMES).emotions == ("happy", "happy", "happy")
    unsure = settings.model_copy(update={"confidence_threshold": 0.88})
    assert follow_table(table, 0.1, unsure, NAMES).emotions == ("happy", "uncertain", "uncertain")


def test_the_table_has_a_row_for_each_face_of_a_frame(tmp_path: Path, settings: InferenceSettings) -> None:
    table = write_rows(tmp_path / "rows.parquet", 3, (0, 7, "happy", 0.9), (2, 9, "happy", 0.9))

    tracks = write_timeline(tmp_path, table, video(3, 1 / 3), settings, NAMES)

    written = pd.read_csv(tmp_path / "timeline.csv")
    assert tracks == 1
    names = ["seconds", "track", "x", "y", "width", "height", "emotion", *(f"probability_{name}" for name in NAMES)]
    assert written.columns.tolist() == names
    assert written.iloc[:, :7].to_numpy().tolist() == [
        [0.0, 1, 7, 50, 100, 100, "happy"],
        [0.667, 1, 9, 50, 100, 100, "happy"],
    ]
    np.testing.assert_allclose(written.iloc[:, 7:].sum(axis=1), 1, atol=1e-6)


def test_the_page_names_each_face_in_words_and_fetches_nothing(tmp_path: Path, settings: InferenceSettings) -> None:
    leaves = [(frame, 0, "happy", 0.9) for frame in range(4)] + [(frame, 0, "sad", 0.9) for frame in range(20, 24)]
    table = write_rows(tmp_path / "rows.parquet", 24, *leaves)

    write_timeline(tmp_path, table, video(24), settings, NAMES)

    page = (tmp_path / "timeline.html").read_text(encoding="utf-8")
    assert rows_of(page) == [
        ["1", "0.00 s", "1.50 s", "4", "happy", "100%"],
        ["2", "10.00 s", "11.50 s", "4", "sad", "100%"],
    ]
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 3
    assert "http" not in page


def test_a_video_without_faces_has_a_timeline_that_says_so(tmp_path: Path, settings: InferenceSettings) -> None:
    tracks = write_timeline(tmp_path, write_rows(tmp_path / "rows.parquet", 3), video(3), settings, NAMES)

    assert tracks == 0
    assert "No face was found in this video" in (tmp_path / "timeline.html").read_text(encoding="utf-8")
    assert pd.read_csv(tmp_path / "timeline.csv").empty


def test_a_video_of_many_faces_shows_those_that_were_seen_most_often(
    tmp_path: Path, settings: InferenceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vision.inference.timeline.SHOWN_TRACKS", 2)
    monkeypatch.setattr("vision.inference.timeline.DRAWN_TRACKS", 1)
    seen = [(frame, 200 * face, "sad", 0.9) for face, frames in enumerate((1, 2, 3)) for frame in range(frames)]
    table = write_rows(tmp_path / "rows.parquet", 3, *seen)

    assert write_timeline(tmp_path, table, video(3), settings, NAMES) == 3

    page = (tmp_path / "timeline.html").read_text(encoding="utf-8")
    assert [row[0] for row in rows_of(page)] == ["2", "3"]
    assert "The 2 faces that were seen most often, of 3" in page
    assert "<h3>Face 3</h3>" in page
    assert "<h3>Face 2</h3>" not in page


def test_a_job_on_a_video_writes_its_timeline_and_on_pictures_none(tmp_path: Path, quick_figures: None) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in range(20):
        writer.write(np.full((48, 64, 3), 10 * level, dtype=np.uint8))
    writer.release()
    Image.new("L", (24, 24)).save(tmp_path / "photo.png")

    of_video, folder = run_job(inference_settings(tmp_path / "clip.avi", tmp_path / "out"))
    of_photo, other = run_job(inference_settings(tmp_path / "photo.png", tmp_path / "out"))

    assert (of_video.tracks, of_video.numbers()["inference/tracks"], of_photo.tracks) == (1, 1.0, None)
    assert pd.read_csv(folder / "timeline.csv")["seconds"].tolist() == [0.0, 1.0]
    assert 'href="timeline.html"' in (folder / "summary.html").read_text(encoding="utf-8")
    assert not (other / "timeline.html").exists()
    (folder / "timeline.html").unlink()
    run_job(inference_settings(tmp_path / "clip.avi", tmp_path / "out"))
    assert (folder / "timeline.html").exists()


def test_an_animated_gif_that_is_the_input_is_a_video(tmp_path: Path, quick_figures: None) -> None:
    frames = [Image.new("L", (48, 48), 40 * number) for number in range(6)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=500)
    frames[0].save(tmp_path / "still.gif")

    moving, folder = run_job(inference_settings(tmp_path / "moving.gif", tmp_path / "out"))
    still, _ = run_job(inference_settings(tmp_path / "still.gif", tmp_path / "out"))

    assert (moving.form, moving.pictures, moving.several) == ("video", 3, 0)
    assert pd.read_csv(folder / "timeline.csv")["seconds"].tolist() == [0.0, 1.0, 2.0]
    assert (still.form, still.pictures) == ("picture", 1)
