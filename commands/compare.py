"""The comparison: champion, challenger and the last training runs in one table, read from MLflow alone."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from tabulate import tabulate

from configs.errors import UserError
from configs.settings import Settings
from stack.health import check_store, one_line, sqlite_path
from stack.local_stack import shown_address
from vision.reporting.reports import render_page

ROLES = ("champion", "challenger")
LOCAL_UI = "http://127.0.0.1:5000"  # where `make ui` opens it
HEADER_WIDTH = 13  # of text; longer names are broken after / and _
IDENTITY = ("role", "version", "run", "started", "status")
TAGS = ("weights", "dataset", "decision")


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: its name in MLflow, the digits after the point, and which end is better."""

    name: str
    digits: int
    best: Callable[..., float]


METRICS = (
    Metric("test/accuracy", 4, max),
    Metric("test/macro_f1", 4, max),
    Metric("test/worst_class_recall", 4, max),
    Metric("test/expected_calibration_error", 4, min),
    Metric("model_megabytes", 1, min),
    Metric("latency_p95_milliseconds", 1, min),
)
COLUMNS = (*IDENTITY, *(metric.name for metric in METRICS), *TAGS)
ALIGNMENT = ["right" if name in {metric.name for metric in METRICS} else "left" for name in COLUMNS]


@dataclass(frozen=True)
class Row:
    """A run: what identifies it, and its metrics and tags where it has them."""

    role: str
    version: str
    run: str
    run_id: str
    experiment_id: str
    started: str
    status: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Comparison:
    """The runs, and where MLflow's own UI compares them; `remark` says what that needs first."""

    experiment: str
    model: str
    rows: tuple[Row, ...]
    ui: str
    remark: str

    @property
    def dataset(self) -> str:
        """The data set on which the first run was tested; only runs on the same one can be better or worse."""
        return self.rows[0].tags.get("dataset", "")

    def is_best(self, row: Row, metric: Metric) -> bool:
        """Say whether the row's value is the best of the runs on that data set, and others are worse."""
        rivals = [other for other in self.rows if other.tags.get("dataset", "") == self.dataset]
        values = [other.metrics[metric.name] for other in rivals if metric.name in other.metrics]
        value = row.metrics.get(metric.name)
        return row in rivals and len(set(values)) > 1 and value == metric.best(values)

    def cells(self, mark: Callable[[str], str], escape: Callable[[str], str] = one_line) -> list[list[str]]:
        """Return the table as text, one list a run; empty where a run has no such value."""
        return [
            [
                *(escape(getattr(row, name)) for name in IDENTITY),
                *(self._number(row, metric, mark) for metric in METRICS),
                *(escape(row.tags.get(name, "")) for name in TAGS),
            ]
            for row in self.rows
        ]

    @property
    def legend(self) -> str:
        return f"best of the runs on {one_line(self.dataset) or 'the same data set'}"

    def _number(self, row: Row, metric: Metric, mark: Callable[[str], str]) -> str:
        if metric.name not in row.metrics:
            return ""
        text = f"{row.metrics[metric.name]:.{metric.digits}f}"
        return mark(text) if self.is_best(row, metric) else text


def compare_runs(settings: Settings, uri: str) -> Comparison:
    """Read the runs behind the model's aliases and the last training runs. Raises UserError where there is nothing."""
    tracking = settings.tracking
    store, path = check_store(uri, tracking.experiment_name), sqlite_path(uri)
    if store.fix:
        raise UserError(f"{store.found}; {store.fix}")
    nothing = (
        f"there is nothing to compare yet: {shown_address(uri) or 'the MLflow store'} has no training run in the "
        f"experiment {tracking.experiment_name} and no champion of {tracking.model_name}; run --pipeline training first"
    )
    if path is not None and not path.exists():  # MLflow's client would make it
        raise UserError(nothing)
    try:
        rows = _read_rows(mlflow.MlflowClient(uri or None), settings)
    except MlflowException as error:
        raise UserError(
            f"the MLflow store {shown_address(uri)} cannot be read: {error}; see run.py --doctor"
        ) from error
    if not rows:
        raise UserError(nothing)
    base, remark = (shown_address(uri).rstrip("/"), "") if uri.startswith("http") else (LOCAL_UI, "after make ui")
    return Comparison(tracking.experiment_name, tracking.model_name, tuple(rows), _ui_link(base, rows), remark)


def _read_rows(client: mlflow.MlflowClient, settings: Settings) -> list[Row]:
    tracking = settings.tracking
    held = _aliases(client, tracking.model_name)
    rows = []
    for version in dict.fromkeys(held.values()):
        roles = [role for role in held if held[role] == version]
        found = client.get_model_version(tracking.model_name, version)
        run = _find_run(client, found.run_id)
        rows.append(_row("both" if len(roles) > 1 else roles[0], version, run, found.tags))
    experiment = client.get_experiment_by_name(tracking.experiment_name)
    if experiment is None:
        return rows
    last = client.search_runs(
        [experiment.experiment_id],
        filter_string="tags.pipeline = 'training'",
        order_by=["attributes.start_time DESC"],
        max_results=tracking.compared_runs,
    )
    shown = {row.run_id for row in rows}
    versions = _versions(client, tracking.model_name)
    return rows + [_row("", versions.get(run.info.run_id, ""), run, {}) for run in last if run.info.run_id not in shown]


def _aliases(client: mlflow.MlflowClient, name: str) -> dict[str, str]:
    """Return which version champion and challenger mean, as far as there are any."""
    try:
        held = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    return {role: str(held[role]) for role in ROLES if role in held}


def _versions(client: mlflow.MlflowClient, name: str) -> dict[str, str]:
    """Return the newest version of the model that each run registered."""
    mark = "'" if "'" not in name else '"'
    found = client.search_model_versions(f"name={mark}{name}{mark}", order_by=["version_number DESC"])
    return {version.run_id: str(version.version) for version in reversed(found) if version.run_id}


def _find_run(client: mlflow.MlflowClient, run_id: str | None) -> Run | None:
    """Return the run of a version, or None where it has none (any more)."""
    try:
        return client.get_run(run_id) if run_id else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _row(role: str, version: str, run: Run | None, tags: Mapping[str, str]) -> Row:
    """Take over what a run says; an imported version has tags that its run has not."""
    if run is None:
        return Row(role, version, "", "", "", "", "", {}, dict(tags))
    info, numbers = run.info, {metric.name: run.data.metrics.get(metric.name) for metric in METRICS}
    return Row(
        role,
        version,
        info.run_name or "",
        info.run_id,
        info.experiment_id,
        datetime.fromtimestamp(info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        info.status,
        {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)},
        {**tags, **run.data.tags},
    )


def _ui_link(base: str, rows: list[Row]) -> str:
    """Return the address of the page in MLflow's UI that compares these runs; it takes both lists as JSON."""
    runs = [row.run_id for row in rows if row.run_id]
    experiments = list(dict.fromkeys(row.experiment_id for row in rows if row.run_id))
    chosen = {"runs": runs, "experiments": experiments}
    return f"{base}/#/compare-runs?" + "&".join(
        f"{name}={quote(json.dumps(ids, separators=(',', ':')), safe='')}" for name, ids in chosen.items()
    )


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
    cells = comparison.cells(lambda number: f"**{number}**", _escape_markdown)
    table = tabulate(cells, COLUMNS, "pipe", disable_numparse=True, colalign=ALIGNMENT)
    remark = f" ({comparison.remark})" if comparison.remark else ""
    link = f"[Compare in the MLflow UI]({comparison.ui}){remark}"
    return f"{table}\n\n**Bold**: {_escape_markdown(comparison.legend)}. Times are UTC. {link}"


def _render_json(comparison: Comparison) -> str:
    runs: list[dict[str, Any]] = [
        {
            **{name: getattr(row, name) for name in (*IDENTITY, "run_id")},
            **{metric.name: row.metrics.get(metric.name) for metric in METRICS},
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
    """Break a column's name into lines, so that its column is not wider than what stands in it."""
    lines = [""]
    for part in re.findall(r"[^/_]*[/_]?", name):
        if lines[-1] and len(lines[-1] + part) > HEADER_WIDTH:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _escape_markdown(text: str) -> str:
    """Keep text from being read as a table's border, a tag, a link or emphasis."""
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escaped)
