"""Reproduction: a former run is read from MLflow, trained again, and compared with the new one."""

import json
import logging
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from tabulate import tabulate

from configs.environment import shown_address
from configs.errors import UserError
from configs.loading import KEPT_SETTINGS, flatten, load_settings, merge
from configs.settings import Settings
from pipelines.runner import Outcome
from stack.databases import sqlite_path
from stack.findings import one_line
from stack.fingerprints import SAID_BY_THE_DATA, surroundings
from stack.health import check_store
from stack.local_stack import find_tracking_uri
from vision.model.weight_files import weights_hash

logger = logging.getLogger(__name__)

REPRODUCES = "reproduces"  # tag that names the former run
OF_THIS_MACHINE = {"state_folder", "tracking", "serving", "alerts"}  # where things are, and who is told of them
COMPARED = ("test/", "test_clean/", "test_tta/", "test_class/", "best_", "temperature")  # what training decides
SHOWN = ("test/accuracy", "test/macro_f1", "test/negative_log_likelihood", "best_val_accuracy", "temperature")
THINGS = {
    "data_fingerprint": "data",
    "weights_sha256": "weights",
    "relabel_sha256": "changed labels",
    "teacher_sha256": "teacher",
    "git_commit": "commit",
    "code_fingerprint": "code",
    "lock_sha256": "lock",
    "packages": "packages",
    "python": "Python",
    "machine": "machine",
    "cores": "cores",
    "convolutions": "convolutions",
    "device": "device",
    "precision": "precision",
}


@dataclass(frozen=True)
class Former:
    """A finished training as MLflow keeps it, with its settings by section."""

    run_id: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """One thing that has changed."""

    thing: str
    then: str
    now: str


def recall(run_id: str, experiment: str, uri: str) -> Former:
    """Read a training from the MLflow store. Raises UserError where it is missing or does not keep enough."""
    where, path = shown_address(uri) or "the MLflow store", sqlite_path(uri)
    unknown = f"--reproduce {run_id}: {where} has no such run; --compare shows the last ones"
    if path is not None and not path.exists():  # MLflow's client would make it
        raise UserError(unknown)
    store = check_store(uri, experiment)
    if not store.is_ok:
        raise UserError(f"{store.found}; {store.fix}")
    client = mlflow.MlflowClient(uri or None)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise UserError(unknown) from error
    if run.data.tags.get("pipeline") != "training":
        kind = run.data.tags.get("pipeline", "something else")
        raise UserError(f"--reproduce {run_id}: that run is not a training but {kind}")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            kept = json.loads(
                Path(client.download_artifacts(run_id, KEPT_SETTINGS, temporary)).read_text(encoding="utf-8")
            )
    except (MlflowException, OSError, ValueError) as error:
        raise UserError(
            f"--reproduce {run_id}: that run has no readable {KEPT_SETTINGS} to rebuild its settings from; "
            "trainings of this version write it"
        ) from error
    if not isinstance(kept, dict):
        raise UserError(f"--reproduce {run_id}: its {KEPT_SETTINGS} contains {type(kept).__name__}, expected sections")
    return Former(run_id, kept, run.data.tags, run.data.metrics)


def rebuild(former: Former, given: Mapping[str, Any]) -> Settings:
    """Return the former settings, changed by those `given` on the command line.

    They are stronger than the environment and the YAML files. A data set that is given is read by its own form.
    Raises UserError for settings that this version does not know.
    """
    kept = {
        name: value
        for name, value in former.settings.items()
        if name in Settings.model_fields and name not in OF_THIS_MACHINE
    }
    chosen = merge(kept, given)
    named = given.get("dataset", {})
    if "path" in named and "reader" not in named:
        chosen["dataset"]["reader"] = "auto"
    return load_settings([], chosen)


def find_differences(former: Former, settings: Mapping[str, Any], tags: Mapping[str, str]) -> list[Difference]:
    """Return what has changed: settings by their name, then data, weights, code, versions and machine.

    Another place of the same data, weights or teacher is not a difference: their content is compared.
    """
    places = {f"dataset.{name}" for name in SAID_BY_THE_DATA} | {
        "classifier.weights", "preprocessing.relabel", "training.distillation.teacher",
    }  # fmt: skip
    then, now = (
        {
            name: value
            for name, value in flatten(dict(sections)).items()
            if name not in places and name.partition(".")[0] not in OF_THIS_MACHINE
        }
        for sections in (former.settings, settings)
    )
    found = [
        Difference(name, then.get(name, "none"), now.get(name, "none"))
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]
    return found + [
        Difference(thing, former.tags.get(tag, "not recorded"), tags[tag])
        for tag, thing in THINGS.items()
        if former.tags.get(tag) != tags[tag]
    ]


def compare_metrics(then: Mapping[str, float], now: Mapping[str, float]) -> dict[str, str]:
    """Return lines with the main metrics of both runs, and the largest difference of all that training decides."""
    common = [name for name in then if name in now and name.startswith(COMPARED)]
    lines = {
        name: f"{then[name]:.6f} then, {now[name]:.6f} now, difference {_distance(then[name], now[name]):.1e}"
        for name in SHOWN
        if name in common
    }
    if not common:
        return {"metrics": "the former run has none to compare"}
    largest = max(common, key=lambda name: _distance(then[name], now[name]))
    distance = _distance(then[largest], now[largest])
    return {**lines, "largest difference": f"{distance:.1e} ({largest}), of {len(common)} metrics"}


def _distance(one: float, other: float) -> float:
    """Return the distance of two numbers; it is 0 between two that are undefined."""
    if math.isnan(one) or math.isnan(other):
        return 0.0 if math.isnan(one) and math.isnan(other) else math.inf
    return abs(one - other)


def render(former: Former, differences: list[Difference]) -> str:
    """Return the differences as a table, or the sentence that there are none."""
    if not differences:
        return f"settings, data, weights, code, versions and machine are those of run {former.run_id}"
    rows = [[one_line(text) for text in (found.thing, found.then, found.now)] for found in differences]
    table = tabulate(rows, ["differs", "then", "now"], "simple", disable_numparse=True, maxcolwidths=[None, 60, 60])
    return f"differs from run {former.run_id}:\n{table}"


def known_hash(weights: str) -> str:
    """Return the hash of the weights as a run's tag has it, or that the file is not here yet."""
    try:
        return weights_hash(weights)
    except FileNotFoundError:  # ImageNet's; other files were checked before
        return "not downloaded yet"


def train_again(former: Former, settings: Settings, tags: dict[str, str]) -> Outcome:
    """Say what differs from the former run, train, and say how close the metrics are."""
    # late: ZenML reads the environment when it is imported, and recall() is called before that is set
    from pipelines import training
    from vision.data.ingestion import ingest_faces
    from vision.training.devices import resolve_precision

    now = {
        **tags,
        **training.describe(settings),
        **surroundings(),
        "data_fingerprint": ingest_faces(settings.dataset, settings.seed, settings.detection).fingerprint,
        "weights_sha256": known_hash(settings.classifier.weights),
        "precision": resolve_precision(settings.training.precision),
    }
    everything = training.kept_settings(settings)
    logger.info("%s", render(former, find_differences(former, everything, now)))
    trained = training.run(settings, tags)
    uri = find_tracking_uri(settings.state_folder)
    again = mlflow.MlflowClient(uri).get_run(trained.lines["MLflow run"])
    return Outcome({**trained.lines, **compare_metrics(former.metrics, again.data.metrics)}, trained.exit_code)
