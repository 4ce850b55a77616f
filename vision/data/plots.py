"""Plots of a data set: its faces, classes and checks."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

from vision.data.checks import CheckResult
from vision.data.faces import TRAIN, UNASSIGNED, FaceSet
from vision.reporting.figures import PALETTE, STYLE, image_grid, new_figure, sentence, to_png

SHOWN = 8  # example images of a check


def suspicious_faces(faces: FaceSet, checks: Sequence[CheckResult]) -> bytes:
    """Draw up to eight example images of every check on images that found something."""
    sources = faces.table["source"]
    rows = np.flatnonzero(sources.isin([source for check in checks for source in check.examples]))
    row_of = {source: row for row, source in zip(rows[::-1], sources.iloc[rows[::-1]], strict=True)}  # the first row
    found = {c.check: [row_of[s] for s in c.examples if s in row_of][:SHOWN] for c in checks if c.failed}
    found = {check: rows for check, rows in found.items() if rows}
    if not found:
        return sentence("no check found a suspicious image")
    table = faces.table
    places = [place for rows in found.values() for place in (*rows, *[None] * (SHOWN - len(rows)))]
    images = [None if row is None else faces.images[row] for row in places]
    titles = ["" if row is None else f"{table['split'].iloc[row]}\n{table['label'].iloc[row]}" for row in places]
    return image_grid(images, titles, SHOWN, list(found))


def class_counts(counts: pd.DataFrame) -> bytes:
    """Draw counts (rows are splits, columns classes) as bars, with the share of each class in its split."""
    figure, axes = new_figure(10, 2.6 * len(counts), len(counts), 1, squeeze=False)
    for axis, (split, row) in zip(axes[:, 0], counts.iterrows(), strict=True):
        with matplotlib.rc_context(STYLE):
            sns.barplot(x=row.index, y=row.to_numpy(), color=PALETTE[0], ax=axis)
        for position, count in enumerate(row):
            axis.annotate(
                f"{count:,} ({count / max(row.sum(), 1):.1%})", (position, count), ha="center", va="bottom", fontsize=8
            )
        axis.set(title=f"{split}: {row.sum():,} faces", xlabel="", ylabel="faces")
        axis.margins(y=0.15)
    return to_png(figure)


def class_weights(weights: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw the weight of each class under each scheme."""
    long = (
        pd.DataFrame(weights).rename_axis("class").reset_index().melt("class", var_name="scheme", value_name="weight")
    )
    figure, axis = new_figure(10, 3)
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="class", y="weight", hue="scheme", palette=PALETTE[:2], ax=axis)
    axis.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    axis.set(title="Class weights that follow from the counts (1: as without weights)", xlabel="")
    return to_png(figure)


def sample_faces(faces: FaceSet, per_class: int, seed: int) -> bytes:
    """Draw random decodable training faces, a row for each class."""
    random = np.random.default_rng(seed)
    training = faces.decodable & np.asarray(faces.table["split"].isin([TRAIN, UNASSIGNED]))
    images: list[np.ndarray[Any, Any] | None] = []
    for code in range(len(faces.class_names)):
        rows = random.permutation(np.flatnonzero(training & (faces.labels == code)))[:per_class]
        images += [faces.images[row] for row in rows] + [None] * (per_class - len(rows))
    return image_grid(images, [""] * len(images), per_class, faces.class_names)


def faces_by_rule(before: Mapping[str, int], remaining: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draw how many faces each split has before any rule, and by the rule's name after each."""
    steps = {"as ingested": before, **{f"after\n{rule}": counts for rule, counts in remaining.items()}}
    counts = pd.DataFrame(steps).fillna(0).astype(int)
    figure, axis = new_figure(10, 3.4)
    long = counts.rename_axis("split").reset_index().melt("split", var_name="step", value_name="faces")
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="step", y="faces", hue="split", palette=PALETTE[: len(counts)], ax=axis)
    for container in axis.containers:
        axis.bar_label(container, fmt="{:,.0f}", fontsize=7)
    axis.set_title("Faces before and after each rule", loc="left")
    axis.set(xlabel="")
    axis.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    axis.margins(y=0.12)
    return to_png(figure)
