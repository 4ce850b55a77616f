"""Figures: how every figure is made, drawn off screen and returned as PNG bytes."""

import io
from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Image = np.ndarray[Any, Any]
matplotlib.rcParams["text.parse_math"] = False  # a folder name with dollar signs is not a formula

DPI = 110
PALETTE = sns.color_palette("colorblind")
SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
IMAGE_INCHES, GAP_INCHES, LINE_INCHES, LABEL_INCHES = 1.1, 0.15, 0.14, 0.4  # of a grid of images
STYLE = {**sns.axes_style("whitegrid"), "axes.titlesize": 11, "axes.labelsize": 10, "font.size": 9}


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of `width` x `height` inches in the house's style, and its axes (as `subplots` gives them)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call] # savefig would draw it twice
    return buffer.getvalue()


def face_png(image: Image) -> bytes:
    """Return a (side, side) uint8 face as the bytes of a PNG file."""
    return cv2.imencode(".png", image)[1].tobytes()


def sentence(text: str) -> bytes:
    """Return a figure that says one sentence, where there is nothing to draw."""
    figure, axis = new_figure(5, 0.8)
    axis.text(0.5, 0.5, text, ha="center", va="center")
    axis.set_axis_off()
    return to_png(figure)


def image_grid(
    images: Sequence[Image | None], titles: Sequence[str], columns: int, row_labels: Sequence[str] = ()
) -> bytes:
    """Draw images in rows of `columns`, each under its title, with a label before each row.

    Images are (side, side) uint8 grey levels or (side, side, 3) uint8 colours, smaller ones in the middle of their
    place; None leaves a place empty. They are put together before they are drawn: axes for each face take ten times
    as long.
    """
    rows = max(1, -(-len(images) // columns))
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    side = max((len(image) for image in images if image is not None), default=1)
    per_inch = side / IMAGE_INCHES
    gap, band = round(GAP_INCHES * per_inch), round((GAP_INCHES + LINE_INCHES * lines) * per_inch)
    margin = round(LABEL_INCHES * per_inch) if row_labels else gap
    canvas = np.full((rows * (band + side) + gap, margin + columns * (side + gap), 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(canvas.shape[1] / per_inch, canvas.shape[0] / per_inch))
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.set_axis_off()
    for position, (image, title) in enumerate(zip(images, titles, strict=True)):
        if image is None:
            continue
        row, column = divmod(position, columns)
        top, left = row * (band + side) + band, margin + column * (side + gap)
        inset = (side - len(image)) // 2
        rows_of, columns_of = (slice(start + inset, start + inset + len(image)) for start in (top, left))
        canvas[rows_of, columns_of] = image if image.ndim == 3 else image[..., None]
        axis.text(left + side / 2, top - gap / 4, title, ha="center", va="bottom", fontsize=8)
    for row, label in enumerate(row_labels):
        middle = row * (band + side) + band + side / 2
        axis.text(margin / 2, middle, label, rotation=90, ha="center", va="center", fontsize=9)
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    return to_png(figure)


def labelled_faces(images: Sequence[Image], titles: Sequence[str], if_none: str) -> bytes:
    """Draw faces with a title each, or the sentence `if_none` where there are none."""
    return image_grid(images, titles, 8) if len(images) else sentence(if_none)
