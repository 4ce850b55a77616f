"""Tracks: a face of a video keeps its number from frame to frame, and its probabilities are smoothed over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import exp
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from configs.inference_settings import FaceTrackingSettings
from vision.data.boxes import overlap

Array = np.ndarray[Any, Any]


@dataclass
class _Track:
    """A face: when and where it was seen last, how far it moved a second, and its smoothed probabilities."""

    number: int
    seconds: float
    box: Array
    probabilities: Array
    motion: Array | None = None  # of the box's corner; None until it was seen twice

    def expected_box(self, seconds: float) -> Array:
        """Return where the face is if it moves on as it did."""
        return self.box if self.motion is None else self.box + np.append(self.motion, [0, 0]) * (seconds - self.seconds)


class FaceFollower:
    """Follows the faces of a video, whose frames are given one after another."""

    def __init__(self, settings: FaceTrackingSettings) -> None:
        self.settings = settings
        self._tracks: list[_Track] = []
        self._numbers: Iterator[int] = count(1)

    def follow(self, seconds: float, boxes: Array, probabilities: Array) -> tuple[Array, Array]:
        """Return the (n,) numbers of a frame's faces, from 1, and their smoothed (n, classes) probabilities.

        `boxes` is (n, 4) of x, y, width and height, `probabilities` (n, classes), and `seconds` the frame's time,
        which is later than the last frame's. Faces and tracks are paired so that their overlap is largest in sum
        (Kuhn 1955). A face without a track begins one; a track without a face waits for `max_gap_seconds`.
        """
        self._tracks = [one for one in self._tracks if seconds - one.seconds <= self.settings.max_gap_seconds + 1e-9]
        shared = np.zeros((len(self._tracks), len(boxes)))
        for row, track in enumerate(self._tracks):
            shared[row] = self._overlaps(track, seconds, boxes)
        shared[shared < self.settings.min_overlap] = 0
        known = {
            int(face): self._tracks[track]
            for track, face in zip(*linear_sum_assignment(shared, maximize=True), strict=True)
            if shared[track, face] > 0
        }
        numbers, smoothed = np.zeros(len(boxes), dtype=np.int64), np.array(probabilities, dtype=np.float64)
        for face, box in enumerate(boxes.astype(np.float64)):
            if face in known:
                self._move(known[face], seconds, box, smoothed[face])
                smoothed[face] = known[face].probabilities
            else:
                known[face] = _Track(next(self._numbers), seconds, box, smoothed[face])
                self._tracks.append(known[face])
            numbers[face] = known[face].number
        return numbers, smoothed

    def _overlaps(self, track: _Track, seconds: float, boxes: Array) -> Array:
        """Return the overlap of each box with where the face was seen last, or where it is expected if that is more."""
        return np.maximum(overlap(track.box, boxes), overlap(track.expected_box(seconds), boxes))

    def _move(self, track: _Track, seconds: float, box: Array, probabilities: Array) -> None:
        elapsed = seconds - track.seconds
        share = 1 - exp(-elapsed / self.settings.smoothing_seconds) if self.settings.smoothing_seconds else 1.0
        motion = (box[:2] - track.box[:2]) / elapsed
        track.motion = motion if track.motion is None else track.motion + share * (motion - track.motion)
        track.probabilities = track.probabilities + share * (probabilities - track.probabilities)
        track.seconds, track.box = seconds, box
