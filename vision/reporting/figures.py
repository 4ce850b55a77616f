"""Plots: every figure of the product, drawn off screen and returned as PNG bytes."""

import io
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from vision.data.faces import TRAIN, UNASSIGNED, FaceSet

if TYPE_CHECKING:
    from vision.data.preprocessing import RuleCount
    from vision.data.validation import CheckResult

matplotlib.rcParams["text.parse_math"] = False  # a folder name with dollar signs is no formula

DPI = 110
PALETTE = sns.color_palette("colorblind")
SEQUENTIAL, DIVERGING = "cividis", "RdBu_r"
STYLE = {**sns.axes_style("whitegrid"), "axes.titlesize": 11, "axes.labelsize": 10, "font.size": 9}


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, **options)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _show(axis: Any, image: np.ndarray[Any, Any], title: str = "") -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()


def _grid(images: Sequence[np.ndarray[Any, Any]], titles: Sequence[str], columns: int) -> bytes:
    rows = max(1, -(-len(images) // columns))
    lines = max((title.count("\n") + 1 for title in titles if title), default=0)
    figure, axes = _figure(1.25 * columns, (1.25 + 0.16 * lines) * rows, rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        _show(axis, image, title)
    return _png(figure)


def suspicious_faces(faces: FaceSet, checks: Sequence["CheckResult"]) -> bytes:
    """Draw up to eight example images of every check on images that found something."""
    row_of = pd.Series(range(len(faces)), index=faces.table["source"]).groupby(level=0).first()
    found = {c.check: [row_of[s] for s in c.examples if s in row_of.index][:8] for c in checks if c.failed}
    found = {check: rows for check, rows in found.items() if rows}
    if not found:
        figure, axis = _figure(5, 0.8)
        axis.text(0.5, 0.5, "no check found a suspicious image", ha="center", va="center")
        axis.set_axis_off()
        return _png(figure)
    figure, axes = _figure(11, 1.55 * len(found), len(found), 8, squeeze=False)
    for line, (check, rows) in zip(axes, found.items(), strict=True):
        for position, axis in enumerate(line):
            axis.set_axis_off()
            if position < len(rows):
                row = rows[position]
                _show(axis, faces.images[row], f"{faces.table['split'].iloc[row]}\n{faces.table['label'].iloc[row]}")
        line[0].text(-0.15, 0.5, check, transform=line[0].transAxes, rotation=90, ha="right", va="center")
    return _png(figure)


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
    return _png(figure)


def class_counts(counts: pd.DataFrame) -> bytes:
    """Draw counts (rows are splits, columns classes) as bars, with the share of each class in its split."""
    figure, axes = _figure(10, 2.6 * len(counts), len(counts), 1, squeeze=False)
    for axis, (split, row) in zip(axes[:, 0], counts.iterrows(), strict=True):
        with matplotlib.rc_context(STYLE):
            sns.barplot(x=row.index, y=row.to_numpy(), color=PALETTE[0], ax=axis)
        for position, count in enumerate(row):
            axis.annotate(
                f"{count:,} ({count / max(row.sum(), 1):.1%})", (position, count), ha="center", va="bottom", fontsize=8
            )
        axis.set(title=f"{split}: {row.sum():,} faces", xlabel="", ylabel="faces")
        axis.margins(y=0.15)
    return _png(figure)


def class_weights(weights: Mapping[str, Mapping[str, float]]) -> bytes:
    """Draw the weight of each class under each scheme."""
    long = (
        pd.DataFrame(weights).rename_axis("class").reset_index().melt("class", var_name="scheme", value_name="weight")
    )
    figure, axis = _figure(10, 3)
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="class", y="weight", hue="scheme", palette=PALETTE[:2], ax=axis)
    axis.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    axis.set(title="Class weights that follow from the counts (1: as without weights)", xlabel="")
    return _png(figure)


def sample_faces(faces: FaceSet, per_class: int, seed: int) -> bytes:
    """Draw random decodable training faces, a row for each class."""
    random = np.random.default_rng(seed)
    training = faces.decodable & np.asarray(faces.table["split"].isin([TRAIN, UNASSIGNED]))
    figure, axes = _figure(
        1.15 * per_class + 0.6, 1.15 * len(faces.class_names), len(faces.class_names), per_class, squeeze=False
    )
    for code, (line, name) in enumerate(zip(axes, faces.class_names, strict=True)):
        rows = random.permutation(np.flatnonzero(training & (faces.labels == code)))[:per_class]
        for position, axis in enumerate(line):
            axis.set_axis_off()
            if position < len(rows):
                _show(axis, faces.images[rows[position]])
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, rotation=90, ha="right", va="center")
    return _png(figure)


def faces_by_rule(before: Mapping[str, int], rules: Sequence["RuleCount"]) -> bytes:
    """Draw how many faces each split has after each rule."""
    steps = {"as ingested": before, **{f"after\n{rule.rule}": rule.remaining for rule in rules}}
    counts = pd.DataFrame(steps).fillna(0).astype(int)
    figure, axis = _figure(10, 3.4)
    long = counts.rename_axis("split").reset_index().melt("split", var_name="step", value_name="faces")
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="step", y="faces", hue="split", palette=PALETTE[: len(counts)], ax=axis)
    for container in axis.containers:
        axis.bar_label(container, fmt="{:,.0f}", fontsize=7)
    axis.set_title("Faces before and after each rule", loc="left")
    axis.set(xlabel="")
    axis.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    axis.margins(y=0.12)
    return _png(figure)


def augmentation(originals: np.ndarray[Any, Any], versions: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """Draw faces in the first row and their augmented versions below."""
    images = [*originals, *(image for version in versions for image in version)]
    titles = ["before"] * len(originals) + ["after"] * (len(images) - len(originals))
    return _grid(images, titles, len(originals))


def learning_curves(history: Sequence[Mapping[str, float]], phases: Sequence[str], best_epoch: int) -> bytes:
    """Draw loss, accuracy, macro-F1 and learning rate by epoch; the kept epoch is marked."""
    epochs = np.arange(1, len(history) + 1)
    figure, axes = _figure(11, 6, 2, 2)
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
    return _png(figure)


def confusion(matrix: np.ndarray[Any, Any], class_names: Sequence[str]) -> bytes:
    """Draw a (classes, classes) confusion matrix of counts, rows are true labels, coloured by share of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    texts = [
        [f"{share:.0%}\n{count:,}" for share, count in zip(*row, strict=True)]
        for row in zip(shares, matrix, strict=True)
    ]
    figure, axis = _figure(8, 6.6)
    with matplotlib.rc_context(STYLE):
        sns.heatmap(
            shares, annot=np.array(texts), fmt="", cmap=SEQUENTIAL, vmin=0, vmax=1, ax=axis,
            xticklabels=list(class_names), yticklabels=list(class_names), cbar_kws={"label": "share of the true class"},
        )  # fmt: skip
    axis.set(xlabel="predicted", ylabel="true", title="Confusion matrix (test split)")
    axis.tick_params(axis="y", rotation=0)
    return _png(figure)


def confusion_pair(
    champion: np.ndarray[Any, Any], challenger: np.ndarray[Any, Any], class_names: Sequence[str]
) -> bytes:
    """Draw two (classes, classes) confusion matrices as shares of the true class, and second minus first."""
    old, new = (m / np.maximum(m.sum(axis=1, keepdims=True), 1) for m in (champion, challenger))
    figure, axes = _figure(13, 4.8, 1, 3)
    widest = max(0.1, float(np.abs(new - old).max()))
    share = {"cmap": SEQUENTIAL, "vmin": 0, "vmax": 1, "fmt": ".0%"}
    change = {"cmap": DIVERGING, "vmin": -widest, "vmax": widest, "fmt": "+.0%"}
    panels = [("champion", old, share), ("challenger", new, share), ("challenger minus champion", new - old, change)]
    for axis, (title, values, style) in zip(axes, panels, strict=True):
        with matplotlib.rc_context(STYLE):
            sns.heatmap(
                values, annot=True, ax=axis, square=True, annot_kws={"fontsize": 8},
                cbar_kws={"label": "share of the true class", "shrink": 0.75},
                xticklabels=list(class_names), yticklabels=list(class_names), **style,
            )  # fmt: skip
        axis.set(xlabel="predicted", ylabel="true", title=title)
        axis.tick_params(axis="x", rotation=45)
        axis.tick_params(axis="y", rotation=0)
    return _png(figure)


def class_changes(champion: pd.DataFrame, challenger: pd.DataFrame) -> bytes:
    """Draw the F1 of each class for both models; tables are indexed by class and have `f1` and `count`."""
    both = pd.DataFrame({"champion": champion["f1"], "challenger": challenger["f1"]})
    long = both.rename_axis("class").reset_index().melt("class", var_name="model", value_name="F1")
    figure, axis = _figure(10, 3.6)
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="class", y="F1", hue="model", palette=PALETTE[:2], ax=axis)
    for position, (old, new) in enumerate(both.itertuples(index=False)):
        axis.annotate(f"{new - old:+.3f}", (position, max(old, new) + 0.02), ha="center", fontsize=9)
    labels = [f"{name}\n(n={count:,})" for name, count in challenger["count"].items()]
    axis.set_xticks(range(len(labels)), labels)
    axis.set_title("F1 by class, and its change", loc="left")
    axis.set(xlabel="", ylim=(0, 1.1))
    axis.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    return _png(figure)


def reliability(curves: Mapping[str, pd.DataFrame], errors: Mapping[str, float], bins: int) -> bytes:
    """Draw accuracy against confidence by bin, and the faces in each bin, for each named set of predictions.

    A curve has columns confidence, accuracy (both 0-1) and count.
    """
    figure, (top, bottom) = _figure(6.4, 6.4, 2, 1, height_ratios=[3, 1], sharex=True)
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
    return _png(figure)


def class_scores(table: pd.DataFrame) -> bytes:
    """Draw precision, recall and F1 of each class; `table` is indexed by class, with a column `count`."""
    long = (
        table[["precision", "recall", "f1"]]
        .rename_axis("class")
        .reset_index()
        .melt("class", var_name="metric", value_name="score")
    )
    labels = [f"{name}\n(n={count:,})" for name, count in table["count"].items()]
    figure, axis = _figure(10, 3.4)
    with matplotlib.rc_context(STYLE):
        sns.barplot(long, x="class", y="score", hue="metric", palette=PALETTE[:3], ax=axis)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_title("Scores by class (test split)", loc="left")
    axis.set(xlabel="", ylim=(0, 1.05))
    axis.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
    return _png(figure)


def distributions(
    reference: pd.DataFrame, current: pd.DataFrame, titles: Mapping[str, str], labels: Mapping[str, str]
) -> bytes:
    """Draw, for each column that `titles` names, its distribution in both tables: filled and outlined.

    Numbers are histograms on common edges, anything else bars of shares. Missing values are left out; the
    outermost half per cent at either end counts into the first and the last bar.
    """
    rows = -(-len(titles) // 3)
    figure, axes = _figure(12, 3.8 * rows, rows, 3, squeeze=False)
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
    return _png(figure)


def _edges(reference: pd.Series, current: pd.Series, bins: int = 25) -> np.ndarray[Any, Any]:
    ends = [values.quantile(q) for values in (reference, current) for q in (0.005, 0.995)]
    low, high = float(min(ends)), float(max(ends))
    around = 0.1 * max(abs(low), 1.0) if low == high else 0.0  # of a constant
    return np.linspace(low - around, high + around, bins + 1)


def labelled_faces(images: Sequence[np.ndarray[Any, Any]], titles: Sequence[str], if_none: str) -> bytes:
    """Draw faces with a title each, or the sentence `if_none` where there are none."""
    if not len(images):
        figure, axis = _figure(5, 0.8)
        axis.text(0.5, 0.5, if_none, ha="center", va="center")
        axis.set_axis_off()
        return _png(figure)
    return _grid(images, titles, 8)


def explanations(
    images: np.ndarray[Any, Any], heat: np.ndarray[Any, Any], titles: Sequence[str], per_class: int
) -> bytes:
    """Draw faces beside their Grad-CAM heat: (n, side, side) grey levels and (n, side, side) heat of 0-1."""
    pairs, rows = per_class, -(-len(images) // per_class)
    figure, axes = _figure(2.7 * pairs, 1.62 * rows, rows, 2 * pairs, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for position, title in enumerate(titles):
        line, pair = divmod(position, pairs)
        plain, heated = axes[line, 2 * pair], axes[line, 2 * pair + 1]
        _show(plain, images[position], title)
        _show(heated, images[position], "looked at")
        heated.imshow(heat[position], cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return _png(figure)


def class_color(position: int) -> tuple[int, int, int]:
    """Return the colour of a class by its position, as red, green and blue of 0-255; -1 is `uncertain`, and grey."""
    colors = [PALETTE[index] for index in (0, 1, 2, 3, 4, 8, 9, 5, 6)]
    red, green, blue = PALETTE[7] if position < 0 else colors[position % len(colors)]
    return round(255 * red), round(255 * green), round(255 * blue)


def emotion_counts(counts: Mapping[str, int], class_names: Sequence[str]) -> bytes:
    """Draw how many faces show each emotion; a name that is no class, such as `uncertain`, is grey."""
    total = max(sum(counts.values()), 1)
    codes = [class_names.index(name) if name in class_names else -1 for name in counts]
    colors = [np.array(class_color(code)) / 255 for code in codes]
    figure, axis = _figure(10, 3.4)
    bars = axis.bar(list(counts), list(counts.values()), color=colors)
    axis.bar_label(bars, [f"{count:,} ({count / total:.1%})" for count in counts.values()], fontsize=8)
    axis.set(title="Faces by emotion", ylabel="faces")
    axis.grid(visible=False, axis="x")
    axis.margins(y=0.15)
    return _png(figure)


def confidence_histogram(counts: np.ndarray[Any, Any], threshold: float) -> bytes:
    """Draw the faces by the probability of their most likely emotion; `counts` are of equal bins from 0 to 1."""
    edges = np.linspace(0.0, 1.0, len(counts) + 1)
    figure, axis = _figure(10, 3.2)
    axis.stairs(counts, edges, fill=True, color=PALETTE[0])
    axis.axvline(threshold, color="black", linestyle="--", linewidth=1.2, label=f"below {threshold:g}: uncertain")
    axis.set(title="Confidence", xlabel="probability of the most likely emotion", ylabel="faces", xlim=(0, 1))
    axis.set_ylim(0, 1.1 * max(int(counts.max()), 1))
    axis.legend(fontsize=8, loc="upper left")
    return _png(figure)


def latencies(table: pd.DataFrame) -> bytes:
    """Draw what a batch takes: `table` has runtime, batch, p50 and p95, in milliseconds, a row for each pair."""
    batches = table["batch"].unique()
    figure, axes = _figure(3.4 * len(batches), 3.2, 1, len(batches), squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        rows = table[table["batch"] == batch]
        names = [f"{row.runtime}\n{row.p50:.3g} / {row.p95:.3g}" for row in rows.itertuples()]
        axis.bar(names, rows["p50"], color=PALETTE[: len(rows)])
        axis.scatter(names, rows["p95"], color="black", marker="_", s=300, label="95th percentile")
        axis.set(title=f"batch of {batch}", ylabel="milliseconds (median / 95th percentile)")
        axis.grid(visible=False, axis="x")
        axis.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8)
    return _png(figure)
