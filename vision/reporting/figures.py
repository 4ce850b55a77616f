"""Figures: how every figure is made, drawn off screen and returned as PNG bytes."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

matplotlib.rcParams["text.parse_math"] = False  # a folder name with dollar signs is no formula

DPI = 110
PALETTE = sns.color_palette("colorblind")
SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
STYLE = {**sns.axes_style("whitegrid"), "axes.titlesize": 11, "axes.labelsize": 10, "font.size": 9}


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of `width` x `height` inches in the house's style, and its axes (as `subplots` gives them)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def show_image(axis: Any, image: np.ndarray[Any, Any], title: str = "") -> None:
    """Draw (height, width) uint8 grey levels with a title, without ticks."""
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()


def image_grid(images: Sequence[np.ndarray[Any, Any]], titles: Sequence[str], columns: int) -> bytes:
    """Draw (height, width) uint8 images in rows of `columns`, each under its title."""
    rows = max(1, -(-len(images) // columns))
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    figure, axes = new_figure(1.25 * columns, (1.25 + 0.16 * lines) * rows, rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        show_image(axis, image, title)
    return to_png(figure)


def labelled_faces(images: Sequence[np.ndarray[Any, Any]], titles: Sequence[str], if_none: str) -> bytes:
    """Draw faces with a title each, or the sentence `if_none` where there are none."""
    if not len(images):
        figure, axis = new_figure(5, 0.8)
        axis.text(0.5, 0.5, if_none, ha="center", va="center")
        axis.set_axis_off()
        return to_png(figure)
    return image_grid(images, titles, 8)
