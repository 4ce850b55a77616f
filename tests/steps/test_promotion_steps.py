"""The registry's steps on a real SQLite MLflow store, with toy models instead of trained ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from configs.errors import UserError
from configs.settings import Settings
from stack import model_store, registry
from stack.places import local_path
from stack.step_places import StepPlaces
from steps.promote_model import promote_model
from steps.review_champion import review_champion
from steps.roll_back_model import roll_back_model
from tests.steps.toy_models import champion, crown, number
from vision.data.faces import TEST, TRAIN, FaceSet
from vision.lifecycle.drift import add_taught
from vision.lifecycle.gate import GateRules
from vision.lifecycle.review import ReviewRules


@pytest.fixture
def gate(store: Path, prepared: FaceSet, small_settings: Settings) -> Callable[..., Any]:
    """Return a function that puts a version through the gate in a run of its own."""

    def run(uri: str, gap: float | None = None, **changes: Any) -> Any:
        promotion = small_settings.promotion.model_copy(update={"allow_drawn": True, **changes})
        rules = GateRules(promotion=promotion, evaluation=small_settings.evaluation, seed=1)
        places = StepPlaces(state_folder=str(store), reports_folder=str(store / "reports"))
        with mlflow.start_run():
            if gap is not None:
                mlflow.log_metric("generalization_gap", gap)
            return promote_model.entrypoint(prepared, uri, rules, places)

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures of the comparison, which take seconds."""
    monkeypatch.setattr("vision.lifecycle.gate._draw", lambda *_: {})


def test_bounds_for_the_worst_slice_and_for_the_gap_of_the_run_are_held(
    register: Callable[[float], str], gate: Callable[..., Any]
) -> None:
    decision = gate(register(0.5), gap=0.3, min_worst_slice_accuracy=0.9, max_generalization_gap=0.2)

    slices, gap = decision.reasons
    assert decision.outcome == "rejected"
    assert slices.startswith("worst slice accuracy 0.")
    assert gap == "generalization gap 0.3, must be at most 0.2"


@pytest.fixture
def roll_back(small_settings: Settings, name: str) -> Callable[..., Any]:
    """Return a function that rolls back in a run of its own."""

    def run(**asked: Any) -> Any:
        with mlflow.start_run():
            return roll_back_model.entrypoint(name, small_settings.rollback.model_copy(update=asked), {})

    return run


def test_a_model_lives_through_promotion_holding_rejection_and_rollback(
    undrawn: None, register: Callable[[float], str], gate: Callable[..., Any], roll_back: Callable[..., Any], name: str
) -> None:
    assert champion(name) is None

    assert gate(register(0.4), allow_drawn=False).outcome == "held"
    assert champion(name) is None
    assert gate(register(0.5), min_accuracy=0.6).outcome == "rejected"
    assert champion(name) is None
    first = register(0.5)
    assert gate(first).outcome == "promoted"
    assert champion(name) == number(first)
    weaker = register(0.4)
    assert gate(weaker).outcome == "held"
    assert champion(name) == number(first)
    second = register(1.0)
    assert gate(second).outcome == "promoted"
    assert champion(name) == number(second)

    version = registry.find_version(second)
    assert version.tags["previous_champion"] == number(first)
    assert version.tags["decision"] == "promoted"
    assert version.tags["promoted_at"].endswith("+00:00")

    said = roll_back(reason="happy faces look sad")
    assert champion(name) == number(first)
    assert said["champion now"] == f"version {number(first)}"
    assert mlflow.last_active_run().data.tags["restored_reason"] == "happy faces look sad"
    assert registry.find_version(second).tags["rolled_back_reason"] == "happy faces look sad"

    from zenml.client import Client

    stages = {found.name: str(found.stage) for found in Client().list_model_versions(name).items}
    assert stages == {f"mlflow-{number(first)}": "production", f"mlflow-{number(second)}": "archived"}

    refused = {
        number(first): "is the champion already",
        number(weaker): "never was champion",
        "99": "is not a registered",
    }
    for asked, problem in refused.items():
        with pytest.raises(UserError, match=problem):
            roll_back(version=int(asked))
    with pytest.raises(UserError, match="had no champion before it"):
        roll_back()
    roll_back(version=int(number(second)))
    assert champion(name) == number(second)


def test_faces_that_a_teacher_was_trained_on_do_not_count_for_the_gain(
    undrawn: None, register: Callable[..., str], gate: Callable[..., Any], prepared: FaceSet, name: str
) -> None:
    crown(name, register(0.5))
    rows = prepared.rows(TEST)
    teacher = pd.DataFrame({"split": TRAIN, "exact_hash": prepared.table["exact_hash"].iloc[rows[:10]]})
    pupil = add_taught(pd.DataFrame({"split": [], "exact_hash": []}), teacher)

    alone, taught, twice_removed = (gate(register(0.5, by)).compared_faces for by in (None, teacher, pupil))

    copies = prepared.table["exact_hash"].iloc[rows].isin(teacher["exact_hash"]).sum()
    assert alone - taught == alone - twice_removed == copies >= 10


def test_the_decision_is_in_mlflow_and_in_the_reports(
    register: Callable[[float], str], gate: Callable[..., Any], store: Path, name: str
) -> None:
    crown(name, register(0.5))

    decision = gate(register(0.4))

    (run,) = mlflow.search_runs(max_results=1, output_format="list")
    assert decision.outcome == run.data.tags["decision"] == "held"
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id, "promotion")}
    assert files == {
        f"promotion/{name}"
        for name in (
            "decision.json", "page.html", "class_changes.png", "confusion_matrices.png", "disagreements.png",
        )
    }  # fmt: skip
    assert run.data.metrics["latency_p95_milliseconds"] > 0
    assert run.data.metrics["promotion/macro_f1_gain"] == pytest.approx(decision.gains[1].gain)
    assert "held" in (store / "reports" / run.info.run_id / "decision.md").read_text(encoding="utf-8")


def test_a_champion_that_cannot_be_loaded_stops_the_gate(
    register: Callable[[float], str], gate: Callable[..., Any], name: str
) -> None:
    holder, challenger = register(0.5), register(1.0)
    crown(name, holder)
    file = model_store.load_model(holder).file
    content = file.read_bytes()
    try:
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=r"nothing was promoted.*cannot be loaded.*--pipeline rollback"):
            gate(challenger)
    finally:
        file.write_bytes(content)

    assert champion(name) == number(holder)


def test_a_champion_whose_files_are_gone_stops_the_gate_and_says_where_they_were(
    register: Callable[[float], str], gate: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    holder, challenger = register(0.5), register(1.0)
    crown(name, holder)
    place = local_path(mlflow.MlflowClient().get_model_version_download_uri(name, number(holder)))
    assert place is not None
    place.rename(tmp_path / "kept")
    try:
        with pytest.raises(UserError, match=rf"nothing was promoted.*are gone: {place} is missing.*--state_folder"):
            gate(challenger)
    finally:
        (tmp_path / "kept").rename(place)

    assert champion(name) == number(holder)


def test_a_champion_that_another_run_made_meanwhile_is_compared_with_too(
    undrawn: None,
    register: Callable[[float], str],
    gate: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    first, second = register(0.9), register(1.0)
    crown(name, register(0.5))
    move = registry.move_champion

    def move_after_another(*arguments: Any) -> None:
        monkeypatch.setattr(registry, "move_champion", move)
        crown(name, second)
        move(*arguments)

    monkeypatch.setattr(registry, "move_champion", move_after_another)

    decision = gate(first)

    assert decision.outcome == "held"
    assert decision.champion == number(second) == champion(name)
    assert registry.find_version(first).tags["decision"] == "held"


FINGERPRINTS = {"settings_fingerprint": "s", "code_fingerprint": "c"}


@pytest.fixture
def review(
    register: Callable[[float], str], prepared: FaceSet, small_settings: Settings, name: str
) -> Callable[..., tuple[str, str]]:
    """Return a function that reviews the champion, which was trained on `prepared`, against other data."""
    holder = register(0.5)
    crown(name, holder)
    registry.tag_version(name, number(holder), {**FINGERPRINTS, "prepared_fingerprint": prepared.fingerprint})

    def run(faces: FaceSet, model: str = name, drifted: bool = False, **tags: str) -> tuple[str, str]:
        retraining = small_settings.retraining.model_copy(update={"only_if_drifted": drifted})
        rules = ReviewRules(retraining=retraining, monitoring=small_settings.monitoring, batch_size=32, seed=1)
        with mlflow.start_run():
            verdict: tuple[str, str] = review_champion.entrypoint(faces, model, {**FINGERPRINTS, **tags}, rules)
        return verdict

    return run


def test_retraining_has_nothing_to_do_while_data_settings_and_code_are_the_champions(
    review: Callable[..., tuple[str, str]], prepared: FaceSet, name: str
) -> None:
    assert review(prepared)[0] == "nothing to do"
    reason = f"settings changed since champion version {champion(name)}"
    assert review(prepared, settings_fingerprint="other") == ("train", reason)
    assert review(prepared.take(np.arange(100)), code_fingerprint="x")[1].startswith("data and code changed")
    assert review(prepared, model="nobody") == ("train", "nobody has no champion")


def test_a_challenger_that_was_held_is_not_trained_again(
    register: Callable[[float], str], review: Callable[..., tuple[str, str]], prepared: FaceSet, name: str
) -> None:
    held = number(register(0.4))
    mlflow.MlflowClient().set_registered_model_alias(name, registry.CHALLENGER, held)
    tags = {**FINGERPRINTS, "code_fingerprint": "newer", "prepared_fingerprint": prepared.fingerprint}
    registry.tag_version(name, held, tags)

    assert review(prepared, code_fingerprint="newer")[0] == "train"  # the gate has not seen it yet
    registry.tag_version(name, held, {"decision": "held"})
    verdict, reason = review(prepared, code_fingerprint="newer")

    assert verdict == "nothing to do"
    assert f"those of version {held}, which the gate has held" in reason


def test_changed_data_is_not_enough_where_retraining_asks_for_drift(
    review: Callable[..., tuple[str, str]], prepared: FaceSet
) -> None:
    fewer = prepared.take(np.arange(len(prepared) - 1))
    images = np.clip(fewer.images.astype(int) + 70, 0, 255).astype(np.uint8)
    brighter = replace(fewer, images=images, table=fewer.table.assign(exact_hash="new " + fewer.table["exact_hash"]))

    assert review(fewer)[0] == "train"
    verdict, reason = review(fewer, drifted=True)
    assert verdict == "nothing to do"
    assert "0 faces are new" in reason
    verdict, reason = review(brighter, drifted=True)
    assert verdict == "train"
    assert "brightness" in reason
