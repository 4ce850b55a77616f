"""Plots of predictions: emotions, confidence and the faces of a video over time, and the colour of each class."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from vision.inference.result_table import UNCERTAIN
from vision.reporting.figures import PALETTE, new_figure, to_png

Array = np.ndarray[Any, Any]

HATCHES = (
    "",
    "////",
    "....",
    "\\\\\\\\",
    "xxxx",
    "----",
    "||||",
    "oooo",
    "++++",
)  # by class, for who cannot tell the colours
WRITTEN_SHARE = 0.09  # of the time axis; a label is written into a bar of at least this length


def class_color(position: int) -> tuple[int, int, int]:
    """Return the red, green and blue (0-255) of a class by its position; -1 is `uncertain`, which is grey."""
    colors = [PALETTE[index] for index in (0, 1, 2, 3, 4, 8, 9, 5, 6)]
    red, green, blue = PALETTE[7] if position < 0 else colors[position % len(colors)]
    return round(255 * red), round(255 * green), round(255 * blue)


def emotion_counts(counts: Mapping[str, int], class_names: Sequence[str]) -> bytes:
    """Draw how many faces show each emotion; a name that is not a class, such as `uncertain`, is grey."""
    total = max(sum(counts.values()), 1)
    codes = [class_names.index(name) if name in class_names else -1 for name in counts]
    colors = [np.array(class_color(code)) / 255 for code in codes]
    figure, axis = new_figure(10, 3.4)
    bars = axis.bar(list(counts), list(counts.values()), color=colors)
    axis.bar_label(bars, [f"{count:,} ({count / total:.1%})" for count in counts.values()], fontsize=8)
    axis.set(title="Faces by emotion", ylabel="faces")
    axis.grid(visible=False, axis="x")
    axis.margins(y=0.15)
    return to_png(figure)


def confidence_histogram(counts: np.ndarray[Any, Any], threshold: float) -> bytes:
    """Draw a histogram of the faces' confidence; `counts` are those of equal bins from 0 to 1."""
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    figure, axis = new_figure(10, 3.2)
    axis.stairs(counts, edges, fill=True, color=PALETTE[0])
    axis.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label=f"below {threshold:g}: uncertain")
    axis.set(title="Confidence", xlabel="probability of the most likely emotion", ylabel="faces", xlim=(0, 1))
    axis.set_ylim(0, 1.1 * max(int(counts.max()), 1))
    axis.legend(fontsize=8, loc="upper left")
    return to_png(figure)


def track_rows(
    rows: Sequence[tuple[int, Array, Sequence[str]]],
    class_names: Sequence[str],
    interval: float,
    span: tuple[float, float],
) -> bytes:
    """Draw a row for each face of a video: its number, the seconds at which it was seen, and its label at each.

    A frame stands for the `interval` seconds that it begins; `span` is the first and the last second of the axis.
    """
    figure, axis = new_figure(10, 1.5 + 0.36 * len(rows))
    labels = {emotion for *_, emotions in rows for emotion in emotions}
    named = [(name, code) for code, name in enumerate(class_names)] + [(UNCERTAIN, -1)]
    looks = {name: _look(code) for name, code in named if name in labels}
    for place, (_, seconds, emotions) in enumerate(rows):
        for start, stop in _runs(seconds, interval, emotions):
            begin, end, emotion = seconds[start], seconds[stop - 1] + interval, emotions[start]
            axis.barh(place, end - begin, left=begin, height=0.8, linewidth=0.4, **looks[emotion])
            if end - begin >= WRITTEN_SHARE * (span[1] - span[0]):
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
                axis.text((begin + end) / 2, place, emotion, ha="center", va="center", fontsize=7, bbox=box)
    axis.set_yticks(range(len(rows)), [f"face {number}" for number, *_ in rows])
    axis.set(xlabel="seconds", xlim=span, ylim=(len(rows) - 0.4, -0.6))
    axis.grid(visible=False, axis="y")
    handles = [Patch(linewidth=0.4, label=name, **look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, handleheight=1.4)
    return to_png(figure)


def track_probabilities(
    seconds: Array, probabilities: Array, class_names: Sequence[str], interval: float, span: tuple[float, float]
) -> bytes:
    """Draw the (n, classes) probabilities of a face over time, each class as a band of its own, named beside it."""
    figure, axis = new_figure(10, 0.9 + 0.32 * len(class_names))
    for start, stop in _runs(seconds, interval):
        edges = np.append(seconds[start:stop], seconds[stop - 1] + interval)
        for code in range(len(class_names)):
            floor, color = len(class_names) - 1 - code, np.array(class_color(code)) / 255
            axis.stairs(floor + 0.9 * probabilities[start:stop, code], edges, baseline=floor, fill=True, color=color)
    axis.set_yticks(range(len(class_names)), class_names[::-1])
    axis.set(xlabel="seconds; a full band is a probability of 1", xlim=span, ylim=(-0.05, len(class_names)))
    return to_png(figure)


def _look(code: int) -> dict[str, Any]:
    """Return the colour and the hatching of a class by its position; -1 is `uncertain`."""
    return {
        "facecolor": np.array(class_color(code)) / 255,
        "hatch": HATCHES[-1] if code < 0 else HATCHES[code % (len(HATCHES) - 1)],
        "edgecolor": "black",
    }


def _runs(seconds: Array, interval: float, labels: Sequence[str] | None = None) -> list[tuple[int, int]]:
    """Return the positions at which stretches without a gap, and with the same label, begin and end."""
    breaks = np.diff(seconds) > 1.5 * interval
    if labels is not None:
        breaks |= np.array(labels[1:], dtype=object) != np.array(labels[:-1], dtype=object)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(seconds)]
    return list(pairwise(edges))
