"""The comparison of runs as text, Markdown, JSON and HTML."""

import json
import re
from collections.abc import Callable
from typing import Any

from tabulate import tabulate

from commands.comparison import COLUMNS, IDENTITY, METRICS, TAGS, Comparison
from vision.reporting.markdown import escape_markdown
from vision.reporting.pages import render_page

HEADER_WIDTH = 13  # of text; longer names are broken after / and _
ALIGNMENT = ["right" if name in {metric.name for metric in METRICS} else "left" for name in COLUMNS]


def render(comparison: Comparison, form: str) -> str:
    """Return the comparison as text, markdown, json or html."""
    return RENDERERS[form](comparison)


def _render_text(comparison: Comparison) -> str:
    headers = [_broken(name) for name in COLUMNS]
    cells = comparison.cells(lambda number: f"*{number}")
    table = tabulate(cells, headers, "simple", disable_numparse=True, colalign=ALIGNMENT)
    remark = f" ({comparison.remark})" if comparison.remark else ""
    return f"{table}\n\n* {comparison.legend}; times are UTC\ncompare in the MLflow UI{remark}: {comparison.ui}"


def _render_markdown(comparison: Comparison) -> str:
    cells = comparison.cells(lambda number: f"**{number}**", escape_markdown)
    table = tabulate(cells, COLUMNS, "pipe", disable_numparse=True, colalign=ALIGNMENT)
    remark = f" ({comparison.remark})" if comparison.remark else ""
    link = f"[Compare in the MLflow UI]({comparison.ui}){remark}"
    return f"{table}\n\n**Bold**: {escape_markdown(comparison.legend)}. Times are UTC. {link}"


def _render_json(comparison: Comparison) -> str:
    runs: list[dict[str, Any]] = [
        {
            **row.identity,
            "run_id": row.run.run_id,
            **{metric.name: row.run.metrics.get(metric.name) for metric in METRICS},
            **{name: row.tags.get(name) for name in TAGS},
        }
        for row in comparison.rows
    ]
    chosen = {"experiment": comparison.experiment, "model": comparison.model, "runs": runs, "ui": comparison.ui}
    return json.dumps(chosen, indent=1, allow_nan=False)


def _render_html(comparison: Comparison) -> str:
    title = f"Runs of {comparison.experiment}"
    return render_page(
        "comparison.html.j2", title=title, comparison=comparison, identity=IDENTITY, metrics=METRICS, tags=TAGS
    )


RENDERERS: dict[str, Callable[[Comparison], str]] = {
    "text": _render_text,
    "markdown": _render_markdown,
    "json": _render_json,
    "html": _render_html,
}


def _broken(name: str) -> str:
    """Break a column's name into lines, so that the column is as narrow as its cells."""
    lines = [""]
    for part in re.findall(r"[^/_]*[/_]?", name):
        if lines[-1] and len(lines[-1] + part) > HEADER_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
