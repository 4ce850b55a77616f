"""Plots of a training: augmentation, curves and trials."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from vision.reporting.figures import PALETTE, STYLE, image_grid, new_figure, to_png


def augmentation(originals: np.ndarray[Any, Any], versions: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """Draw faces in the first row and their augmented versions below."""
    images = [*originals, *(image for version in versions for image in version)]
    titles = ["before"] * len(originals) + ["after"] * (len(images) - len(originals))
    return image_grid(images, titles, len(originals))


def learning_curves(history: Sequence[Mapping[str, float]], phases: Sequence[str], best_epoch: int) -> bytes:
    """Draw loss, accuracy, macro-F1 and learning rate by epoch; the kept epoch is marked."""
    epochs = np.arange(1, len(history) + 1)
    figure, axes = new_figure(11, 6, 2, 2)
    for axis, metric in zip(axes.flat, ["loss", "accuracy", "macro_f1", "learning_rate"], strict=True):
        axis.plot(epochs, [row[metric] for row in history], "o-", color=PALETTE[0], label="training")
        if f"val_{metric}" in history[0]:
            axis.plot(epochs, [row[f"val_{metric}"] for row in history], "s--", color=PALETTE[1], label="validation")
        axis.axvline(best_epoch, color="black", linewidth=0.8, linestyle=":", label="kept epoch")
        for position in range(1, len(phases)):
            if phases[position] != phases[position - 1]:
                axis.axvline(position + 0.5, color="grey", linewidth=0.8)
        axis.set(title=metric.replace("_", " "), xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)
    return to_png(figure)


def trials(found: Sequence[Mapping[str, Any]], metric: str, logarithmic: Collection[str]) -> bytes:
    """Draw a search: each trial's value in its order with the best so far, and against each setting that was tried."""
    table = pd.DataFrame([{**trial["values"], **trial} for trial in found if trial["value"] is not None])
    paths = list(found[0]["values"])
    rows = [[*paths[start : start + 3], *["."] * 3][:3] for start in range(0, len(paths), 3)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 2.8 * (1 + len(rows))), layout="constrained")
        axes = figure.subplot_mosaic([["history"] * 3, *rows])
    history = axes["history"]
    for state, color, marker in (("complete", PALETTE[0], "o"), ("pruned", PALETTE[1], "x")):
        chosen = table[table["state"] == state]
        history.scatter(chosen["number"], chosen["value"], color=color, marker=marker, label=state, zorder=2)
    complete = table[table["state"] == "complete"]
    best = complete["value"].cummin() if metric == "val_loss" else complete["value"].cummax()
    history.step(complete["number"], best, where="post", color="black", linewidth=1, label="best so far")
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    history.set(title="Trials", xlabel="trial", ylabel=metric)
    history.legend()
    for path in paths:
        axis, tried = axes[path], complete[path]
        if path in logarithmic:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        elif not pd.api.types.is_numeric_dtype(tried):
            tried = tried.astype(str)
            axis.tick_params(axis="x", rotation=20)
            axis.margins(x=0.2)
        axis.scatter(tried, complete["value"], color=PALETTE[0], s=18, zorder=2)
        axis.set(xlabel=path, ylabel=metric)
    return to_png(figure)
