"""Plots of an evaluation: confusion, scores, reliability, robustness, coverage and Grad-CAM."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

from vision.evaluation.robustness import Robustness
from vision.reporting.figures import PALETTE, SEQUENTIAL, STYLE, image_grid, new_figure, to_png

LEAST_COVERAGE = 0.1  # of fewer faces an accuracy says little
HEAT = 0.55  # share of the colour of heat in a picture


def confusion(matrix: np.ndarray[Any, Any], class_names: Sequence[str]) -> bytes:
    """Draw a (classes, classes) confusion matrix of counts, rows are true labels, coloured by share of the row."""
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals[:, None], 1)
    texts = [
        [f"{share:.0%}\n{count:,}" if total else "no face" for share, count in zip(*row, strict=True)]
        for total, row in zip(totals, zip(shares, matrix, strict=True), strict=True)
    ]
    axes = {"xlabel": "predicted", "ylabel": "true", "title": "Confusion matrix (test split)"}
    return _row_shares(shares, class_names, {"annot": np.array(texts), "fmt": ""}, "share of the true class", axes)


def label_joint(joint: np.ndarray[Any, Any], class_names: Sequence[str]) -> bytes:
    """Draw the estimated (given, true) shares of all faces, each row as shares of its given label."""
    shares = joint / joint.sum(axis=1, keepdims=True)
    title = "What the labels probably should be"
    axes = {"xlabel": "true label, estimated", "ylabel": "given label", "title": title}
    return _row_shares(shares, class_names, {"annot": True, "fmt": ".0%"}, "share of the label", axes)


def _row_shares(
    shares: np.ndarray[Any, Any], class_names: Sequence[str], texts: Mapping[str, Any], colours: str,
    axes: Mapping[str, str],
) -> bytes:  # fmt: skip
    """Draw a (classes, classes) matrix of shares between 0 and 1; `colours` says what they are shares of."""
    figure, axis = new_figure(8, 6.6)
    with matplotlib.rc_context(STYLE):
        sns.heatmap(
            shares, cmap=SEQUENTIAL, vmin=0, vmax=1, ax=axis, xticklabels=list(class_names),
            yticklabels=list(class_names), cbar_kws={"label": colours}, **texts,
        )  # fmt: skip
    axis.set(**axes)
    axis.tick_params(axis="y", rotation=0)
    return to_png(figure)


def class_scores(table: pd.DataFrame) -> bytes:
    """Draw precision, recall and F1 of each class; `table` is indexed by class, with a column `count`."""
    long = (
        table[["precision", "recall", "f1"]]
        .rename_axis("class")
        .reset_index()
        .melt("class", var_name="metric", value_name="score")
    )
    labels = [f"{name}\n(n={count:,})" if count else f"{name}\n(no face)" for name, count in table["count"].items()]
    figure, axis = new_figure(10, 3.4)
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="class", y="score", hue="metric", palette=PALETTE[:3], ax=axis)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_title("Scores by class (test split)", loc="left")
    axis.set(xlabel="", ylim=(0, 1.05))
    axis.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    return to_png(figure)


def reliability(curves: Mapping[str, pd.DataFrame], errors: Mapping[str, float], bins: int) -> bytes:
    """Draw accuracy against confidence by bin, and the faces in each bin, for each named set of predictions.

    A curve has columns confidence, accuracy (both 0-1) and count.
    """
    figure, (top, bottom) = new_figure(6.4, 6.4, 2, 1, height_ratios=[3, 1], sharex=True)
    top.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="perfectly calibrated")
    width = 0.8 / bins / len(curves)
    for position, (name, curve) in enumerate(curves.items()):
        style = {"color": PALETTE[position]}
        label = f"{name}: expected calibration error {errors[name]:.3f}"
        top.plot(curve["confidence"], curve["accuracy"], "os^D"[position % 4] + "-", label=label, **style)
        bottom.bar(curve["confidence"] + position * width, curve["count"], width=width, **style)
    top.set(ylabel="accuracy", title="Reliability (test split)", xlim=(0, 1), ylim=(0, 1))
    top.legend(fontsize=8, loc="lower right")
    bottom.set(xlabel="confidence", ylabel="faces")
    return to_png(figure)


def robustness(found: Robustness, confidence_level: float) -> bytes:
    """Draw how many points of accuracy each slice costs, with the paired interval; the worst slice is at the top."""
    slices = found.worst_first[::-1]
    changes = np.array([(one.changes[0].gain, one.changes[0].low, one.changes[0].high) for one in slices]) * 100
    names = [f"{one.name.replace('_', ' ')}: {one.accuracy:.1%}" for one in slices]
    figure, axis = new_figure(8, 4.2)
    axis.axvline(0, color="black", linewidth=0.8, linestyle=":")
    axis.hlines(range(len(names)), changes[:, 1], changes[:, 2], color=PALETTE[0], linewidth=2)
    axis.plot(changes[:, 0], range(len(names)), "o", color=PALETTE[0])
    axis.set_yticks(range(len(names)), names)
    axis.set_title(f"Accuracy on {found.faces:,} changed test faces; unchanged: {found.accuracy:.1%}", loc="left")
    axis.set(xlabel=f"points of accuracy against the same faces unchanged ({confidence_level:.0%} paired interval)")
    return to_png(figure)


def coverage(curves: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Draw accuracy against the share of faces that are answered, the surest first, for each named set of faces.

    The k-th number of a curve is the accuracy of the k surest faces.
    """
    figure, axis = new_figure(6.4, 4)
    for position, (name, curve) in enumerate(curves.items()):
        shares = np.arange(1, len(curve) + 1) / len(curve)
        shown = shares >= LEAST_COVERAGE
        label = f"{name.replace('_', ' ')}: {curve[-1]:.1%} of all {len(curve):,}"
        axis.plot(shares[shown], curve[shown], "-" if position == 0 else "--", color=PALETTE[position], label=label)
    axis.set_title("Accuracy where the most uncertain faces are left out", loc="left")
    axis.set(xlabel="share of faces that are answered, the surest first", ylabel="accuracy", xlim=(LEAST_COVERAGE, 1))
    axis.legend(fontsize=8)
    return to_png(figure)


def explanations(
    images: np.ndarray[Any, Any], heat: np.ndarray[Any, Any], titles: Sequence[str], per_class: int
) -> bytes:
    """Draw faces beside their Grad-CAM heat: (n, side, side) uint8 grey levels and (n, side, side) heat of 0-1."""
    colors = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    heated = (HEAT * colors + (1 - HEAT) * images[..., None]).astype(np.uint8)
    pairs = [picture for plain, hot in zip(images, heated, strict=True) for picture in (plain, hot)]
    return image_grid(pairs, [text for title in titles for text in (title, "looked at")], 2 * per_class)
