import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serving.conftest import Running, model_of, settings_with, tiny_onnx
from tests.serving.registries import Registry, models_of

LONG = 3600.0  # seconds between looks: the tests look themselves


@pytest.fixture(scope="session")
def other() -> bytes:
    return tiny_onnx(seed=1)


@pytest.fixture
def registry(content: bytes, other: bytes) -> Registry:
    return Registry({"3": content, "4": other}, {"champion": "3"})


@pytest.fixture
def follow(serve: Callable[..., Running], registry: Registry) -> Callable[..., Running]:
    def start(**serving: object) -> Running:
        settings = settings_with(registry_seconds=LONG, **serving)
        models = models_of(registry, settings)
        return serve(models, models.load("3"), registry_seconds=LONG, **serving)

    return start


def version(running: Running) -> str:
    found: str = running.client.get("/v1/model").json()["version"]
    return found


def figure(running: Running, name: str) -> float | None:
    return running.service.metrics.registry.get_sample_value(f"face_emotion_{name}")


def test_a_new_champion_answers_from_the_next_look_on(follow: Callable[..., Running], registry: Registry) -> None:
    running = follow()
    before = version(running)
    registry.aliases["champion"] = "4"
    running.service.follower.look()

    assert (before, version(running), figure(running, "model_swaps_total")) == ("3", "4", 1)


def test_the_page_is_told_all_that_the_registry_knows(follow: Callable[..., Running], registry: Registry) -> None:
    running = follow()
    registry.aliases["champion"] = "4"
    running.service.follower.look()

    found = running.client.get("/v1/model").json()

    assert found["source"] == "registry"
    assert found["since"] == "2026-01-04T00:00:00+00:00"
    assert found["metrics"] == {"test/accuracy": 0.4}
    assert found["previous"] == {"version": "3", "metrics": {"test/accuracy": 0.3}}
    assert found["decision"] == {"promoted": True, "reasons": ["better"]}
    assert (found["card"], found["mlflow"]) == ("# Card", "http://mlflow.example/4")


def test_a_champion_is_served_after_the_one_before_it_was_deleted(
    follow: Callable[..., Running], registry: Registry
) -> None:
    running = follow()
    del registry.files["3"]
    registry.aliases["champion"] = "4"
    running.service.follower.look()

    found = running.client.get("/v1/model").json()
    assert (found["version"], found["previous"], running.alerts) == ("4", None, [])


def test_a_rollback_arrives_as_a_promotion_does(follow: Callable[..., Running], registry: Registry) -> None:
    running = follow()
    for champion in ("4", "3"):
        registry.aliases["champion"] = champion
        running.service.follower.look()

    assert (version(running), figure(running, "model_swaps_total")) == ("3", 2)


@pytest.mark.parametrize("broken", [b"", b"not an ONNX file", tiny_onnx(classes=5)], ids=["none", "damaged", "classes"])
def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_and_alerts_once(
    follow: Callable[..., Running], registry: Registry, broken: bytes
) -> None:
    running = follow()
    registry.files["5"] = broken
    registry.aliases["champion"] = "5"
    for _ in range(5):
        running.service.follower.look()

    assert version(running) == "3"
    assert [("version 5" in alert, "version 3 still answers" in alert) for alert in running.alerts] == [(True, True)]
    assert (figure(running, "model_failures_total") or 0) >= 1


def test_a_champion_whose_files_are_gone_alerts_too(follow: Callable[..., Running], registry: Registry) -> None:
    running = follow()
    registry.aliases["champion"] = "9"
    running.service.follower.look()

    assert (version(running), figure(running, "registry_up"), len(running.alerts)) == ("3", 1, 1)


def test_a_broken_champion_answers_once_it_is_whole(
    follow: Callable[..., Running], registry: Registry, other: bytes
) -> None:
    running = follow()
    registry.files["5"] = b"broken"
    registry.aliases["champion"] = "5"
    running.service.follower.look()
    registry.files["5"] = other
    running.service.follower.look()

    assert version(running) == "5"


def test_a_registry_that_is_gone_changes_nothing_and_is_followed_again_when_it_is_back(
    follow: Callable[..., Running], registry: Registry
) -> None:
    running = follow()
    registry.gone = True
    running.service.follower.look()
    gone = (version(running), figure(running, "registry_up"))
    registry.gone, registry.aliases["champion"] = False, "4"
    running.service.follower.look()

    assert gone == ("3", 0)
    assert (version(running), figure(running, "registry_up")) == ("4", 1)


def test_an_alias_that_was_taken_away_leaves_the_model_that_answers(
    follow: Callable[..., Running], registry: Registry
) -> None:
    running = follow()
    registry.aliases.clear()
    running.service.follower.look()

    assert version(running) == "3"


def test_a_first_champion_takes_the_bundle_s_place(
    serve: Callable[..., Running], registry: Registry, content: bytes
) -> None:
    settings = settings_with(registry_seconds=LONG)
    bundle = model_of(content, "7")
    running = serve(models_of(registry, settings), bundle, registry_seconds=LONG)
    running.service.follower.numbers.clear()  # what came from a bundle has no number in the registry
    running.service.follower.look()

    assert version(running) == "3"


def test_the_thread_looks_by_itself(serve: Callable[..., Running], registry: Registry) -> None:
    models = models_of(registry, settings_with(registry_seconds=0.1))
    running = serve(models, models.load("3"), registry_seconds=0.1)
    registry.aliases["champion"] = "4"
    deadline = time.monotonic() + 10
    while version(running) != "4":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_request_fails_while_champions_change(
    follow: Callable[..., Running], registry: Registry, photo: bytes
) -> None:
    running = follow()
    stop = threading.Event()

    def ask() -> set[tuple[int, str, str]]:
        found = set()
        while not stop.is_set():
            answer = running.client.post("/v1/emotions", content=photo)
            model = answer.json().get("model", {})
            found.add((answer.status_code, model.get("version", ""), model.get("sha256", "")))
        return found

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        for number in range(20):
            registry.aliases["champion"] = "34"[number % 2]
            running.service.follower.look()
        stop.set()
        seen = set().union(*(future.result() for future in asking))

    assert {status for status, *_ in seen} == {200}
    assert len({(number, sha) for _, number, sha in seen}) == len({number for _, number, _ in seen})


def test_a_challenger_in_the_shadow_is_counted_and_never_answers(
    follow: Callable[..., Running], registry: Registry, photo: bytes, other: bytes
) -> None:
    running = follow(shadow=True)
    registry.aliases["challenger"] = "4"
    running.service.follower.look()
    answered = running.client.post("/v1/emotions", content=photo).json()
    running.service.queue.close()

    counts = {
        agrees: running.service.metrics.registry.get_sample_value("face_emotion_shadow_faces_total", {"agrees": agrees})
        for agrees in ("yes", "no")
    }
    assert answered["model"]["version"] == "3"
    assert sum(count or 0 for count in counts.values()) == 2


def test_without_shadow_the_challenger_is_not_looked_up(follow: Callable[..., Running], registry: Registry) -> None:
    running = follow()
    registry.asked = 0
    running.service.follower.look()

    assert registry.asked == 1
    assert running.service.follower.challenger is None


def test_a_model_that_does_not_answer_with_probabilities_is_refused(content: bytes) -> None:
    onnx = pytest.importorskip("onnx")
    from serving.served_model import UnusableModelError

    model = onnx.load_from_string(content)
    model.graph.node[-1].op_type = "Relu"

    with pytest.raises(UnusableModelError, match="sum to 1"):
        model_of(model.SerializeToString())
    assert np.isfinite(model_of(content).predictor.predict(np.zeros((1, 48, 48), np.uint8), 1)).all()
