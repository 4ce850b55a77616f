"""Timeline: the faces of a video over time, as timeline.csv and as timeline.html."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from configs.inference_settings import InferenceSettings
from vision.data.face_detection import NO_FACE
from vision.files.atomic import write_file
from vision.inference import plots
from vision.inference.pictures import Pictures
from vision.inference.result_table import UNCERTAIN
from vision.inference.tracks import FaceFollower
from vision.reporting.pages import render_page

Array = np.ndarray[Any, Any]

TIMELINE_CSV, TIMELINE_PAGE = "timeline.csv", "timeline.html"
BOX = ("x", "y", "width", "height")
SHOWN_TRACKS, DRAWN_TRACKS = 40, 12  # on the page, and of them those whose probabilities are drawn


@dataclass(frozen=True)
class Track:
    """A face of a video: its number, and for each time that it was seen the second, label and probabilities."""

    number: int
    seconds: Array
    emotions: tuple[str, ...]
    probabilities: Array

    @property
    def most_frequent(self) -> tuple[str, float]:
        """The label that the face has most often, and its share."""
        emotion, times = Counter(self.emotions).most_common(1)[0]
        return emotion, times / len(self.emotions)


@dataclass(frozen=True)
class Timeline:
    """What was seen in a video, a row for each face of a frame in the order of time.

    `seconds` and `numbers` are (n,), `boxes` (n, 4) and `probabilities`, which are smoothed, (n, classes). Frames are
    `interval` seconds apart.
    """

    interval: float
    frames: int
    unreadable: int
    without_face: int
    seconds: Array
    numbers: Array
    boxes: Array
    probabilities: Array
    emotions: tuple[str, ...]

    def tracks(self) -> list[Track]:
        """Return the faces in the order of their numbers."""
        order = np.argsort(self.numbers, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(self.numbers[order])) + 1) if len(order) else []
        return [
            Track(
                int(self.numbers[rows[0]]),
                self.seconds[rows],
                tuple(self.emotions[row] for row in rows),
                self.probabilities[rows],
            )
            for rows in groups
        ]


def write_timeline(
    folder: Path, table: Path, video: Pictures, settings: InferenceSettings, class_names: Sequence[str]
) -> int:
    """Write timeline.csv and timeline.html of a video's table of predictions; return how many tracks there are."""
    timeline = follow_table(table, video.seconds_apart or 0.0, settings, class_names)
    _write_csv(folder / TIMELINE_CSV, timeline, class_names)
    tracks = timeline.tracks()
    page = _page(timeline, tracks, video.name, settings, class_names)
    write_file(folder / TIMELINE_PAGE, lambda file: file.write_text(page, encoding="utf-8"))
    return len(tracks)


def follow_table(table: Path, interval: float, settings: InferenceSettings, class_names: Sequence[str]) -> Timeline:
    """Follow the faces of a table whose frames are `interval` seconds apart, in their order."""
    columns = ["face", *BOX, *(f"probability_{name}" for name in class_names)]
    rows = pq.read_table(table, columns=[*columns, "error"])
    values = np.column_stack([rows[name].to_numpy() for name in columns])
    errors = np.array(rows["error"].to_pylist(), dtype=object)
    faces, starts = values[:, 0] >= 0, np.flatnonzero(values[:, 0] <= 0)  # each frame has a row -1 or a row 0
    follower = FaceFollower(settings.tracking)
    seconds = np.repeat(np.arange(len(starts)) * interval, np.diff(np.append(starts, len(values))))
    numbers, smoothed = [], []
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        seen = values[start:stop][faces[start:stop]]
        found = follower.follow(float(seconds[start]), seen[:, 1:5], seen[:, 5:])
        numbers.append(found[0])
        smoothed.append(found[1])
    probabilities = np.concatenate([np.empty((0, len(class_names))), *smoothed])
    names = np.array([*class_names, UNCERTAIN])
    sure = probabilities.max(axis=1, initial=0) >= settings.confidence_threshold
    labels: list[str] = names[np.where(sure, probabilities.argmax(axis=1), -1)].tolist() if len(probabilities) else []
    without_face = int((errors == NO_FACE).sum())
    return Timeline(
        interval=interval,
        frames=len(starts),
        unreadable=int((~faces).sum()) - without_face,
        without_face=without_face,
        seconds=seconds[faces],
        numbers=np.concatenate([np.empty(0, dtype=np.int64), *numbers]),
        boxes=values[faces, 1:5].astype(np.int64),
        probabilities=probabilities,
        emotions=tuple(labels),
    )


def _write_csv(path: Path, timeline: Timeline, class_names: Sequence[str]) -> None:
    """Write a row for each face of a frame, with the smoothed probabilities."""
    columns: dict[str, Any] = {"seconds": timeline.seconds.round(3), "track": timeline.numbers}
    columns |= dict(zip(BOX, timeline.boxes.T, strict=True))
    columns |= {"emotion": pa.array(timeline.emotions, pa.string())}
    smoothed = timeline.probabilities.astype(np.float32)
    columns |= {f"probability_{name}": smoothed[:, code] for code, name in enumerate(class_names)}
    table = pa.table(columns)
    write_file(path, lambda file: pa_csv.write_csv(table, file))


def _page(
    timeline: Timeline, tracks: Sequence[Track], name: str, settings: InferenceSettings, class_names: Sequence[str]
) -> str:
    """Return the page: the tracks that were seen most often as rows, and the probabilities of the first of them."""
    longest = sorted(tracks, key=lambda track: (-len(track.seconds), track.number))[:SHOWN_TRACKS]
    drawn = {track.number for track in longest[:DRAWN_TRACKS]}
    shown = sorted(longest, key=lambda track: track.number)
    span = (0.0, timeline.frames * timeline.interval)
    rows = [(track.number, track.seconds, track.emotions) for track in shown]
    return render_page(
        "timeline.html.j2",
        title=f"Timeline of {name}",
        timeline=timeline,
        settings=settings,
        span=span,
        tracks=shown,
        count=len(tracks),
        overview=plots.track_rows(rows, class_names, timeline.interval, span) if rows else b"",
        drawn={
            track.number: plots.track_probabilities(
                track.seconds, track.probabilities, class_names, timeline.interval, span
            )
            for track in shown
            if track.number in drawn
        },
    )
