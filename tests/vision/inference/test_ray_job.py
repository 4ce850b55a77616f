"""What a job on Ray computes without Ray; tests/ray starts clusters."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest

from configs.errors import UserError
from tests.vision.inference.toy_jobs import inference_settings
from vision.inference.inputs import open_pictures
from vision.inference.pictures import Pictures
from vision.inference.ray_job import (
    Storage,
    count_faces,
    flatten,
    nest,
    parts_in_order,
    read_done,
    settings_for_ray,
    without,
)


def storage(folder: Path) -> Storage:
    folder.mkdir(exist_ok=True)
    return Storage(str(folder), pa_fs.LocalFileSystem(), str(folder))


def write_parts(folder: Path, *parts: Sequence[int]) -> Storage:
    """Write parts of pictures, each of which has as many rows as its position modulo 3, and one."""
    place = storage(folder)
    for number, positions in enumerate(parts):
        lengths = [position % 3 + 1 for position in positions]
        rows = pa.table({"of": np.repeat(positions, lengths)})
        pq.write_table(
            nest(pa.chunked_array([pa.array(positions, pa.int64())]), lengths, rows), folder / f"{number}.parquet"
        )
    return place


def test_parts_that_overlap_come_in_the_order_of_their_pictures(tmp_path: Path) -> None:
    parts = write_parts(tmp_path, [6, 7, 8], [2, 9], [0, 1, 4], [3, 5])

    rows = pa.concat_tables(parts_in_order(parts, 10))["of"].to_pylist()

    assert rows == [position for position in range(10) for _ in range(position % 3 + 1)]


@pytest.mark.parametrize(
    "parts",
    [([0, 1], [3]), ([0, 1], [1, 2, 3]), ([0, 1], [2]), ([1, 2, 3],), ([0, 1, 2, 3, 4],), ([0, 0, 1, 2, 3],), ()],
    ids=["a gap", "twice", "the last is missing", "the first is missing", "too many", "twice in a part", "none"],
)
def test_parts_that_do_not_hold_every_picture_once_are_refused(tmp_path: Path, parts: list[list[int]]) -> None:
    place = write_parts(tmp_path, *parts)

    with pytest.raises(UserError, match="each of 4 pictures once"):
        list(parts_in_order(place, 4))


def test_rows_come_back_from_the_lists_that_they_were_put_into() -> None:
    rows = pa.table({"face": [0, 1, -1], "thumbnail": pa.array([b"x", None, None], pa.binary())})
    positions = pa.chunked_array([pa.array([4, 5], pa.int64())])

    part = nest(positions, [2, 1], rows)

    assert len(part) == 2
    assert flatten(part).equals(rows)


def test_only_committed_pictures_count_as_done_and_parts_of_others_are_removed(tmp_path: Path) -> None:
    parts, checkpoint = storage(tmp_path / "parts"), storage(tmp_path / "checkpoint")
    for name, positions in (("b_1.parquet", [7, 3]), ("a_0.parquet", [1]), ("a_1.pending.parquet", [5])):
        pq.write_table(pa.table({"position": positions}), tmp_path / "checkpoint" / name)
    for name in ("b_1-0.parquet", "a_0-0.parquet", "a_1-0.parquet"):
        (tmp_path / "parts" / name).touch()

    assert read_done(parts, checkpoint).tolist() == [1, 3, 7]
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["a_0-0.parquet", "b_1-0.parquet"]
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == ["a_0.parquet", "b_1.parquet"]


def test_the_faces_of_a_run_are_those_of_its_own_parts_and_not_its_pictures(tmp_path: Path) -> None:
    parts = storage(tmp_path)
    for name, faces in (("earlier", [0, 1, 2, 3]), ("ours", [0, 1, -1]), ("ours too", [0])):
        rows = pa.table({"source": ["a.png"] * len(faces), "face": faces})
        pq.write_table(nest(pa.chunked_array([[0]]), [len(faces)], rows), tmp_path / f"{name}.parquet")

    assert count_faces(parts, [str(tmp_path / "earlier.parquet")]) == 3


def test_a_job_that_never_ran_has_nothing_done(tmp_path: Path) -> None:
    nowhere = storage(tmp_path).within("not there")

    assert len(read_done(nowhere, nowhere)) == 0


def test_what_is_done_is_left_out() -> None:
    manifest = pa.table({"position": [0, 1, 2, 8, 9]})

    assert without(manifest, np.array([1, 3, 9]))["position"].to_pylist() == [0, 2, 8]


def test_a_video_is_refused(tmp_path: Path) -> None:
    video = Pictures("a.mp4", "video", "", 3, lambda start, stop: iter(()), seconds_apart=1.0)

    with pytest.raises(UserError, match="does not read videos"):
        settings_for_ray(inference_settings(tmp_path, tmp_path), video)


def test_nothing_is_annotated(tmp_path: Path, write_faces: Callable[..., Path]) -> None:
    settings = inference_settings(write_faces(tmp_path / "faces", 1), tmp_path / "out", detect=True)

    assert settings.annotated_pictures
    assert settings_for_ray(settings, open_pictures(settings)).annotated_pictures == 0
