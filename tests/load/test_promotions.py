"""The champion moves on and on while other processes ask for it: at every instant there is one, and it loads.

LOAD_MOVES: how many promotions and rollbacks in all (200).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from configs.settings import Settings
from stack import model_store, registry
from stack.step_places import StepPlaces
from steps.promote_model import promote_model
from steps.roll_back_model import roll_back_model
from tests.conftest import PROJECT
from tests.steps.toy_models import know
from vision.data.faces import VALIDATION, FaceSet
from vision.lifecycle.drift import reference_table
from vision.lifecycle.gate import GateRules
from vision.model.classifier import predict

pytestmark = pytest.mark.load
NAME, READERS = "emotions", 2
MOVES = int(os.environ.get("LOAD_MOVES", "200"))
# asks until the file appears; a gap is a moment without a champion, with one that does not load, or with one whose tags
# do not say that it was promoted
READ = """
import json, sys, time
from pathlib import Path
import mlflow
from stack import model_store, registry
uri, name, stop = sys.argv[1:]
mlflow.set_tracking_uri(uri)
reads, loads, gaps, seen, longest = 0, 0, [], {}, 0.0
while not Path(stop).exists():
    began = time.monotonic()
    try:
        found = registry.champion_of(name)
        if not {registry.PROMOTED_AT, registry.PREVIOUS} <= set(found.tags) or found.tags["decision"] != "promoted":
            gaps.append(f"version {found.number} is the champion without the tags of one")
        reads += 1
        seen[found.number] = seen.get(found.number, 0) + 1
        longest = max(longest, time.monotonic() - began)
        if reads % 5 == 0:
            model_store.load_model(f"models:/{name}@{registry.CHAMPION}" if reads % 2 else found.uri)
            loads += 1
    except Exception as error:
        gaps.append(f"{type(error).__name__}: {error}")
    if reads == 1:
        print("ready", flush=True)
print(json.dumps({"reads": reads, "loads": loads, "gaps": gaps, "seen": seen, "longest read": round(longest, 3)}))
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.create_experiment("load", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment("load")
    yield tmp_path
    mlflow.set_tracking_uri(None)


@pytest.fixture
def readers(store: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Start nothing yet; whatever the test starts is ended."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start_readers(readers: list[subprocess.Popen[str]], stop: Path) -> None:
    """Start processes that read until a file appears, and wait until each does."""
    line = [sys.executable, "-c", READ, mlflow.get_tracking_uri(), NAME, str(stop)]
    quiet = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONWARNINGS": "ignore"}
    for _ in range(READERS):
        readers.append(
            subprocess.Popen(line, cwd=PROJECT, env=quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    for process in readers:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"


def test_at_every_instant_of_many_promotions_and_rollbacks_there_is_one_champion_that_loads(
    store: Path, prepared: FaceSet, small_settings: Settings, readers: list[subprocess.Popen[str]]
) -> None:
    promotion = small_settings.promotion.model_copy(update={"allow_drawn": True, "latency_samples": 20})
    rules = GateRules(promotion=promotion, evaluation=small_settings.evaluation, seed=1)
    places = StepPlaces(state_folder=str(store), reports_folder=str(store / "reports"))

    def register(share: float) -> str:
        with mlflow.start_run():
            classifier = know(prepared, share)
            validation = predict(classifier, prepared.images[prepared.rows(VALIDATION)], batch_size=32)
            model_store.log_reference(reference_table(prepared, validation))
            return model_store.log_classifier(classifier, prepared.class_names, NAME)

    def promote(uri: str) -> Any:
        with mlflow.start_run():
            return promote_model.entrypoint(prepared, uri, rules, places)

    def roll_back() -> None:
        with mlflow.start_run():
            roll_back_model.entrypoint(NAME, small_settings.rollback, {})

    weak, strong = register(0.3), register(1.0)
    assert promote(weak).outcome == "promoted"
    start_readers(readers, store / "stop")

    began = time.monotonic()
    for _ in range(MOVES // 2):
        assert promote(strong).outcome == "promoted"
        roll_back()
    seconds = time.monotonic() - began
    (store / "stop").touch()
    told = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in readers]

    gaps = [gap for one in told for gap in one["gaps"]]
    reads, loads = (sum(one[name] for one in told) for name in ("reads", "loads"))
    longest, seen = max(one["longest read"] for one in told), [one["seen"] for one in told]
    print(f"\n{MOVES} promotions and rollbacks in {seconds:.0f} s; {READERS} readers: {reads} reads, {loads} loads, ")
    print(f"{len(gaps)} gaps, longest read {longest} s, versions seen {seen}")
    assert gaps == []
    assert all(set(one["seen"]) <= {"1", "2"} and one["loads"] for one in told)
    assert {number for one in told for number in one["seen"]} == {"1", "2"}  # they saw it move
    assert mlflow.MlflowClient().get_registered_model(NAME).aliases == {registry.CHAMPION: 1}
