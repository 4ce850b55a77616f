"""Plots of a data set: its faces, classes and checks."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

from vision.data.checks import CheckResult
from vision.data.faces import TRAIN, UNASSIGNED, FaceSet
from vision.reporting.figures import PALETTE, STYLE, new_figure, show_image, to_png


def suspicious_faces(faces: FaceSet, checks: Sequence[CheckResult]) -> bytes:
    """Draw up to eight example images of every check on images that found something."""
    row_of = pd.Series(range(len(faces)), index=faces.table["source"]).groupby(level=0).first()
    found = {c.check: [row_of[s] for s in c.examples if s in row_of.index][:8] for c in checks if c.failed}
    found = {check: rows for check, rows in found.items() if rows}
    if not found:
        figure, axis = new_figure(5, 0.8)
        axis.text(0.5, 0.5, "no check found a suspicious image", ha="center", va="center")
        axis.set_axis_off()
        return to_png(figure)
    figure, axes = new_figure(11, 1.55 * len(found), len(found), 8, squeeze=False)
    for line, (check, rows) in zip(axes, found.items(), strict=True):
        for position, axis in enumerate(line):
            axis.set_axis_off()
            if position < len(rows):
                row = rows[position]
                show_image(
                    axis, faces.images[row], f"{faces.table['split'].iloc[row]}\n{faces.table['label'].iloc[row]}"
                )
        line[0].text(-0.15, 0.5, check, transform=line[0].transAxes, rotation=90, ha="right", va="center")
    return to_png(figure)


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
    figure, axes = new_figure(
        1.15 * per_class + 0.6, 1.15 * len(faces.class_names), len(faces.class_names), per_class, squeeze=False
    )
    for code, (line, name) in enumerate(zip(axes, faces.class_names, strict=True)):
        rows = random.permutation(np.flatnonzero(training & (faces.labels == code)))[:per_class]
        for position, axis in enumerate(line):
            axis.set_axis_off()
            if position < len(rows):
                show_image(axis, faces.images[rows[position]])
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center")
    return to_png(figure)


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
