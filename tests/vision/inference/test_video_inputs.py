import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from configs.errors import UserError
from configs.inference_settings import InferenceSettings
from tests.vision.inference.conftest import sources
from vision.inference.inputs import open_pictures
from vision.inference.pictures import Pictures


def write_video(path: Path, frames: int = 47, fourcc: str = "MJPG") -> Path:
    """Ten frames a second; frame n is grey of level 5n."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), 10.0, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 5 * number, dtype=np.uint8))
    writer.release()
    return path


def frame_numbers(pictures: Pictures, start: int = 0) -> list[int]:
    return [round(float(np.mean(p.payload)) / 5) for p in pictures.read(start, pictures.count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("suffix", "fourcc"), [(".avi", "MJPG"), (".mp4", "mp4v"), (".mov", "mp4v"), (".mkv", "MJPG"), (".webm", "VP80")]
)
def test_a_video_is_sampled_at_even_times_from_anywhere_in_it(
    suffix: str, fourcc: str, tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    pictures = open_pictures(named(write_video(tmp_path / f"clip{suffix}", fourcc=fourcc), frames_per_second=2.0))

    assert (pictures.form, pictures.count, pictures.ends_early) == ("video", 10, "")
    assert sources(pictures)[:3] == [f"clip{suffix}#t={time}s" for time in ("0.00", "0.50", "1.00")]
    assert frame_numbers(pictures) == pytest.approx(range(0, 50, 5), abs=1)  # compression changes levels
    assert frame_numbers(pictures, start=7) == frame_numbers(pictures)[7:]


def test_a_video_gives_no_frame_twice(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    pictures = open_pictures(named(write_video(tmp_path / "clip.avi"), frames_per_second=100.0))

    assert pictures.count == 47
    assert len(set(sources(pictures))) == 47


def test_a_video_that_ends_early_is_read_as_far_as_it_goes_and_said_to_be(
    tmp_path: Path, named: Callable[..., InferenceSettings], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "clip.mkv")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 5])

    pictures = open_pictures(named(path, frames_per_second=10.0))

    assert 20 <= pictures.count <= 35
    assert frame_numbers(pictures)[:20] == list(range(20))
    assert pictures.ends_early.startswith("its file says that it lasts 4.7 s, and its pictures end at ")
    assert pictures.ends_early in caplog.text


def test_a_video_of_larger_frames_than_allowed_is_refused(
    tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    with pytest.raises(UserError, match=r"clip\.avi has frames of 64x48 pixels, more than inference\.max_pixels 1000"):
        open_pictures(named(write_video(tmp_path / "clip.avi"), max_pixels=1000))


def test_a_video_whose_name_is_not_text_is_refused(tmp_path: Path, named: Callable[..., InferenceSettings]) -> None:
    path = write_video(tmp_path / "clip.avi").rename(tmp_path / os.fsdecode(b"\xff.avi"))

    with pytest.raises(UserError, match=r"inference\.input .* cannot be read"):
        open_pictures(named(path))


def test_a_video_of_more_pictures_than_allowed_is_refused(
    tmp_path: Path, named: Callable[..., InferenceSettings]
) -> None:
    with pytest.raises(UserError, match=r"clip\.avi holds 10 pictures, more than inference\.max_pictures 9"):
        open_pictures(named(write_video(tmp_path / "clip.avi"), frames_per_second=2.0, max_pictures=9))
