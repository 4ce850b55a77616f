"""Plots of a finished model: champion beside challenger, drift and latency."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

from vision.reporting.figures import DIVERGING, PALETTE, SEQUENTIAL, STYLE, new_figure, to_png


def confusion_pair(
    champion: np.ndarray[Any, Any], challenger: np.ndarray[Any, Any], class_names: Sequence[str]
) -> bytes:
    """Draw two (classes, classes) confusion matrices as shares of the true class, and second minus first."""
    old, new = (m / np.maximum(m.sum(axis=1, keepdims=True), 1) for m in (champion, challenger))
    unknown = np.repeat(challenger.sum(axis=1, keepdims=True) == 0, len(class_names), axis=1)  # rows without a face
    figure, axes = new_figure(13, 4.8, 1, 3)
    widest = max(0.1, float(np.abs(new - old).max()))
    share = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": 1, "fmt": ".0%"}
    change = {"cmap": DIVERGING, "vmin": -widest, "vmax": widest, "fmt": "+.0%"}
    panels = [("champion", old, share), ("challenger", new, share), ("challenger minus champion", new - old, change)]
    for axis, (title, values, style) in zip(axes, panels, strict=True):
        with matplotlib.rc_context(STYLE):
            sns.heatmap(
                values, annot=True, ax=axis, square=True, annot_kws={"fontsize": 8}, mask=unknown,
                cbar_kws={"label": "share of the true class", "shrink": 0.75},
                xticklabels=list(class_names), yticklabels=list(class_names), **style,
            )  # fmt: skip
        axis.set(xlabel="predicted", ylabel="true", title=title)
        axis.tick_params(axis="x", rotation=45)
        axis.tick_params(axis="y", rotation=0)
    return to_png(figure)


def class_changes(champion: pd.DataFrame, challenger: pd.DataFrame) -> bytes:
    """Draw the F1 of each class for both models; tables are indexed by class and have `f1` and `count`."""
    both = pd.DataFrame({"champion": champion["f1"], "challenger": challenger["f1"]})
    long = both.rename_axis("class").reset_index().melt("class", var_name="model", value_name="F1")
    figure, axis = new_figure(10, 3.6)
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="class", y="F1", hue="model", palette=PALETTE[:2], ax=axis)
    for position, (old, new) in enumerate(both.itertuples(index=False)):
        change = f"{new - old:+.3f}" if challenger["count"].iloc[position] else "no face"
        axis.annotate(change, (position, max(old, new) + 0.02), ha="center", fontsize=9)
    labels = [f"{name}\n(n={count:,})" for name, count in challenger["count"].items()]
    axis.set_xticks(range(len(labels)), labels)
    axis.set_title("F1 by class, and its change", loc="left")
    axis.set(xlabel="", ylim=(0, 1.1))
    axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    return to_png(figure)


def distributions(
    reference: pd.DataFrame, current: pd.DataFrame, titles: Mapping[str, str], labels: Mapping[str, str]
) -> bytes:
    """Draw, for each column that `titles` names, its distribution in both tables: filled and outlined.

    Numbers are histograms on common edges, anything else bars of shares. Missing values are left out; the
    outermost half per cent at either end counts into the first and the last bar.
    """
    rows = -(-len(titles) // 3)
    figure, axes = new_figure(12, 3.8 * rows, rows, 3, squeeze=False)
    figure.set_layout_engine("constrained", hspace=0.06)
    for axis in axes.flat[len(titles) :]:
        axis.set_axis_off()
    for axis, (column, title) in zip(axes.flat, titles.items(), strict=False):
        both = {"reference": reference[column].dropna(), "new faces": current[column].dropna()}
        if numeric := pd.api.types.is_numeric_dtype(both["reference"]):
            edges = _edges(both["reference"], both["new faces"])
            width, places = np.diff(edges), edges[:-1]
            counts = [np.histogram(v.clip(edges[0], edges[-1]), edges)[0] for v in both.values()]
        else:
            names = sorted({*both["reference"], *both["new faces"]})
            width, places = np.full(len(names), 0.8), np.arange(len(names)) - 0.4
            counts = [v.value_counts().reindex(names, fill_value=0).to_numpy() for v in both.values()]
            axis.set_xticks(range(len(names)), names, rotation=30)
        shares = [count / count.sum() for count in counts]
        of_reference, of_current = (f"{name} (n = {len(values):,})" for name, values in both.items())
        axis.bar(places, shares[0], width, align="edge", color=PALETTE[0], alpha=0.45, label=of_reference)
        outlined: dict[str, Any] = {"edgecolor": "black", "linestyle": "--", "linewidth": 1.4, "label": of_current}
        if numeric:
            axis.stairs(shares[1], edges, **outlined)
        else:
            axis.bar(places, shares[1], width, align="edge", fill=False, **outlined)
        highest = max(share.max() for share in shares)
        axis.set(title=title, xlabel=labels[column], ylabel="share of faces")
        axis.set_ylim(0, 1.35 * highest)  # the legend stands above the bars
        axis.set_yticks([tick for tick in axis.get_yticks() if tick <= 1.1 * highest])
        axis.yaxis.set_major_formatter(lambda share, position: f"{100 * share:g}%")
        axis.grid(visible=False, axis="x")
        axis.legend(fontsize=8, loc="upper right")
    return to_png(figure)


def _edges(reference: pd.Series, current: pd.Series, bins: int = 25) -> np.ndarray[Any, Any]:
    ends = [values.quantile(q) for values in (reference, current) for q in (0.005, 0.995)]
    low, high = float(min(ends)), float(max(ends))
    around = 0.1 * max(abs(low), 1.0) if low == high else 0.0  # of a constant
    return np.linspace(low - around, high + around, bins + 1)


def latencies(table: pd.DataFrame) -> bytes:
    """Draw what a batch takes: `table` has runtime, batch, p50 and p95, in milliseconds, a row for each pair."""
    batches = table["batch"].unique()
    figure, axes = new_figure(3.4 * len(batches), 3.2, 1, len(batches), squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        rows = table[table["batch"] == batch]
        names = [f"{row.runtime}\n{row.p50:.3g} / {row.p95:.3g}" for row in rows.itertuples()]
        axis.bar(names, rows["p50"], color=PALETTE[: len(rows)])
        axis.scatter(names, rows["p95"], color="black", marker="_", s=300, label="95th percentile")
        axis.set(title=f"batch of {batch}", ylabel="milliseconds (median / 95th percentile)")
        axis.grid(visible=False, axis="x")
        axis.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8)
    return to_png(figure)
