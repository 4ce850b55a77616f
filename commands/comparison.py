"""The comparison of runs: champion, challenger and the last trainings, read from MLflow alone."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from configs.environment import shown_address
from configs.errors import UserError
from configs.settings import Settings
from stack.databases import sqlite_path
from stack.findings import one_line
from stack.health import check_store
from stack.registry import CHALLENGER, CHAMPION, TEST_FINGERPRINT, find_alias

ROLES = (CHAMPION, CHALLENGER)
LOCAL_UI = "http://127.0.0.1:5000"  # where `make ui` opens it
IDENTITY = ("role", "version", "run", "started", "status")
TAGS = ("weights", "dataset", "decision")


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: its name in MLflow, the digits after the point, and whether more or less is better."""

    name: str
    digits: int
    best: Callable[..., float]


METRICS = (
    Metric("test/accuracy", 4, max),
    Metric("test/macro_f1", 4, max),
    Metric("test/worst_class_recall", 4, max),
    Metric("test_slice/worst_accuracy", 4, max),
    Metric("test/expected_calibration_error", 4, min),
    Metric("model_megabytes", 1, min),
    Metric("latency_p95_milliseconds", 1, min),
)
COLUMNS = (*IDENTITY, *(metric.name for metric in METRICS), *TAGS)


@dataclass(frozen=True)
class RunFacts:
    """What MLflow says of a run, as far as it has one; `started` is in UTC."""

    name: str = ""
    run_id: str = ""
    experiment_id: str = ""
    started: str = ""
    status: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A version of the model, a run, or both; the tags are of both."""

    role: str
    version: str
    run: RunFacts
    tags: Mapping[str, str]

    @property
    def tested_on(self) -> str:
        """What tells test faces apart: their fingerprint, or the data set's name where an older run has none.

        Only runs on the same test faces can be better or worse.
        """
        return self.tags.get(TEST_FINGERPRINT) or self.tags.get("dataset", "")

    @property
    def identity(self) -> dict[str, str]:
        """The row's first cells by their column."""
        run = self.run
        return dict(zip(IDENTITY, (self.role, self.version, run.name, run.started, run.status), strict=True))


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
        """The data set on which the first run was tested."""
        return self.rows[0].tags.get("dataset", "")

    def is_best(self, row: Row, metric: Metric) -> bool:
        """Say whether the row's value is the best of the runs on the first run's test faces, where they differ."""
        rivals = [other for other in self.rows if other.tested_on == self.rows[0].tested_on]
        values = [other.run.metrics[metric.name] for other in rivals if metric.name in other.run.metrics]
        value = row.run.metrics.get(metric.name)
        return row in rivals and len(set(values)) > 1 and value == metric.best(values)

    def cells(self, mark: Callable[[str], str], escape: Callable[[str], str] = one_line) -> list[list[str]]:
        """Return the table as text, one list per run, empty where a run has no such value."""
        return [
            [
                *(escape(text) for text in row.identity.values()),
                *(self._number(row, metric, mark) for metric in METRICS),
                *(escape(row.tags.get(name, "")) for name in TAGS),
            ]
            for row in self.rows
        ]

    @property
    def legend(self) -> str:
        return f"best of the runs on the same test faces ({one_line(self.dataset) or 'data set unknown'})"

    def _number(self, row: Row, metric: Metric, mark: Callable[[str], str]) -> str:
        if metric.name not in row.run.metrics:
            return ""
        text = f"{row.run.metrics[metric.name]:.{metric.digits}f}"
        return mark(text) if self.is_best(row, metric) else text


def compare_runs(settings: Settings, uri: str) -> Comparison:
    """Read the runs of champion and challenger and the last training runs. Raises UserError where there are none."""
    tracking = settings.tracking
    store, path = check_store(uri, tracking.experiment_name), sqlite_path(uri)
    if not store.is_ok:
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
    held = {role: found for role in ROLES if (found := find_alias(tracking.model_name, role, client))}
    rows = []
    for version in dict.fromkeys(found.number for found in held.values()):
        roles = [role for role in held if held[role].number == version]
        found = held[roles[0]]
        rows.append(_row("both" if len(roles) > 1 else roles[0], version, _find_run(client, found.run_id), found.tags))
    experiment = client.get_experiment_by_name(tracking.experiment_name)
    if experiment is None:
        return rows
    last = client.search_runs(
        [experiment.experiment_id],
        filter_string="tags.pipeline = 'training'",
        order_by=["attributes.start_time DESC"],
        max_results=tracking.compared_runs,
    )
    shown = {row.run.run_id for row in rows}
    versions = _versions(client, tracking.model_name)
    return rows + [_row("", versions.get(run.info.run_id, ""), run, {}) for run in last if run.info.run_id not in shown]


def _versions(client: mlflow.MlflowClient, name: str) -> dict[str, str]:
    """Return the newest version of the model that each run registered."""
    mark = "'" if "'" not in name else '"'
    found = client.search_model_versions(f"name={mark}{name}{mark}", order_by=["version_number DESC"])
    return {version.run_id: str(version.version) for version in reversed(found) if version.run_id}


def _find_run(client: mlflow.MlflowClient, run_id: str | None) -> Run | None:
    """Return the run of a version, or None where it has none or it was deleted."""
    try:
        return client.get_run(run_id) if run_id else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _row(role: str, version: str, run: Run | None, tags: Mapping[str, str]) -> Row:
    """Make a row of a run and its version's tags, which an imported version has in place of its run's."""
    if run is None:
        return Row(role, version, RunFacts(), dict(tags))
    info, numbers = run.info, {metric.name: run.data.metrics.get(metric.name) for metric in METRICS}
    facts = RunFacts(
        info.run_name or "",
        info.run_id,
        info.experiment_id,
        datetime.fromtimestamp(info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        info.status,
        {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)},
    )
    return Row(role, version, facts, {**tags, **run.data.tags})


def _ui_link(base: str, rows: list[Row]) -> str:
    """Return the address of the page in MLflow's UI that compares these runs; it takes both lists as JSON."""
    runs = [row.run.run_id for row in rows if row.run.run_id]
    experiments = list(dict.fromkeys(row.run.experiment_id for row in rows if row.run.run_id))
    chosen = {"runs": runs, "experiments": experiments}
    return f"{base}/#/compare-runs?" + "&".join(
        f"{name}={quote(json.dumps(ids, separators=(',', ':')), safe='')}" for name, ids in chosen.items()
    )
