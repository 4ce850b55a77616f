"""Plots of predictions: emotions and confidence, and the colour of each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision.reporting.figures import PALETTE, new_figure, to_png


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
