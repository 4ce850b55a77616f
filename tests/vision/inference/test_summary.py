from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.inference_settings import InferenceSettings
from tests.vision.inference.toy_jobs import NAMES, inference_settings, run_job, table_of
from vision.data.face_detection import FoundFaces
from vision.inference import face_cuts
from vision.inference.summary import InferenceReport


def test_the_report_counts_shows_and_comes_back_from_its_facts(
    tmp_path: Path, write_faces: Callable[..., Path]
) -> None:
    root = write_faces(tmp_path / "faces", 5)
    (root / "text.png").write_text("no picture")

    report, folder = run_job(inference_settings(root, tmp_path / "out", confidence_threshold=0.0))

    numbers = report.numbers()
    assert (numbers["inference/pictures"], numbers["inference/faces"], numbers["inference/unreadable"]) == (6, 5, 1)
    assert sum(numbers[f"inference/emotion_{name}"] for name in NAMES) == 5
    assert numbers["inference/mean_confidence"] == pytest.approx(table_of(folder)["confidence"].mean(), rel=1e-5)
    assert InferenceReport.from_facts(report.facts(), report.figures) == report
    assert all(png.startswith(b"\x89PNG") for png in report.figures.values())
    page = (folder / "summary.html").read_text(encoding="utf-8")
    assert page == report.page()
    assert all(words in page for words in ("<b>6</b>pictures<", "<b>5</b>faces<", "<b>1</b>unreadable picture<"))


def test_what_was_left_out_and_what_was_animated_is_counted(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    photos = write_faces(tmp_path / "photos", 2)
    frames = [Image.new("L", (32, 32), level) for level in (10, 200)]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    (photos / "notes.txt").write_text("a text", encoding="utf-8")

    report, folder = run_job(inference_settings(photos, tmp_path / "out"))

    assert (report.pictures, report.several) == (3, 1)
    assert report.left_out == "1 file (1 .txt; for example notes.txt)"
    assert "several" not in table_of(folder).columns
    assert report.left_out in report.page()


def test_what_deep_and_transparent_pictures_became_is_counted(
    tmp_path: Path, write_faces: Callable[..., Path], quick_figures: None
) -> None:
    photos = write_faces(tmp_path / "photos", 2)
    for name, white in (("a", 4000), ("b", 4095), ("c", 60000)):
        Image.fromarray(np.linspace(0, white, 1024).reshape(32, 32).astype(np.uint16)).save(photos / f"{name}.png")
    Image.new("RGBA", (32, 32), (9, 9, 9, 100)).save(photos / "d.png")

    report, folder = run_job(inference_settings(photos, tmp_path / "out"))

    assert (report.unreadable, report.blended) == (0, 1)
    assert report.white_levels == "4095 in 2 pictures, 65535 in 1 picture"
    assert f"taken for white is {report.white_levels}." in report.page()
    assert "Transparent pixels of 1 picture were blended" in report.page()
    assert not {"white", "blended"} & {*table_of(folder).columns}


def test_faces_that_are_too_small_are_counted_also_where_the_picture_has_no_other(
    tmp_path: Path, write_photos: Callable[..., Path], quick_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_one_and_small_ones(picture: np.ndarray, settings: InferenceSettings) -> FoundFaces:
        boxes = np.array([[30, 20, 160, 160]] if picture[100, 110, 0] != 90 else [], dtype=np.int64).reshape(-1, 4)
        return FoundFaces(boxes, np.ones(len(boxes)), 2 if len(boxes) else 5, np.zeros(len(boxes)))

    monkeypatch.setattr(face_cuts, "search_faces", find_one_and_small_ones)
    photos = write_photos(tmp_path / "photos", 1, 0)

    report, folder = run_job(inference_settings(photos, tmp_path / "out", detect=True))

    assert (report.faces, report.without_face, report.too_small) == (1, 1, 7)
    assert report.numbers()["inference/too_small"] == 7
    assert "keep them): 7 faces." in report.page()
    assert "too_small" not in table_of(folder).columns


def test_pictures_without_any_face_make_a_report_too(tmp_path: Path, write_photos: Callable[..., Path]) -> None:
    report, folder = run_job(inference_settings(write_photos(tmp_path / "photos", 0, 0), tmp_path / "out", detect=True))

    assert (report.faces, report.mean_confidence, report.without_face) == (0, None, 2)
    assert "inference/mean_confidence" not in report.numbers()
    assert table_of(folder)["confidence"].isna().all()
