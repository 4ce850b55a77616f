import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest

from stack import model_store, registry
from tests.conftest import PROJECT
from tests.preloaded import Child, Command, PreloadedProcess
from tests.steps.toy_models import crown, number

MOVE = """
import itertools, sys, mlflow
from stack import registry
uri, name, *numbers = sys.argv[1:]
mlflow.set_tracking_uri(uri)
for count, number in enumerate(itertools.cycle(numbers)):
    if count == 4:
        print("ready", flush=True)
    holder = registry.champion_of(name)
    tags = {registry.PROMOTED_AT: registry.now(), registry.PREVIOUS: holder.number}
    try:
        registry.move_champion(name, number, holder.number, tags)
    except registry.ChampionMovedError:
        continue
"""


@pytest.fixture
def rivals(register: Callable[[float], str], name: str) -> tuple[str, str]:
    """Two versions, of which one is the champion."""
    first, second = register(0.5), register(0.5)
    crown(name, first)
    return number(first), number(second)


@pytest.fixture
def movers(
    store: Path, rivals: tuple[str, str], name: str, preloaded: PreloadedProcess, tmp_path: Path
) -> Iterator[list[Child]]:
    """Two processes that take the alias from each other as fast as they can, both in full swing."""
    program: list[Command] = [({}, ["-c", MOVE, mlflow.get_tracking_uri(), name, *rivals])]
    outputs = [tmp_path / "one.txt", tmp_path / "other.txt"]
    started = [preloaded.start(PROJECT, dict(os.environ), program, output) for output in outputs]
    try:
        for process, output in zip(started, outputs, strict=True):
            while not (output.exists() and "ready" in output.read_text(encoding="utf-8")):
                assert not process.ended(0.05), f"it ended before it moved anything: {output.read_text()}"
        yield started
    finally:
        for process in started:
            process.kill()
            process.connection.close()


def test_promotions_at_once_and_a_kill_at_any_moment_leave_exactly_one_champion(
    movers: list[Child], rivals: tuple[str, str], name: str
) -> None:
    random = np.random.default_rng(0)
    for process in movers:
        for _ in range(10):
            time.sleep(random.uniform(0.02, 0.1))
            found = registry.champion_of(name)  # a reader never sees none
            assert found.number in rivals
            assert registry.PREVIOUS in found.tags
        assert not process.ended(), "it gave up"
        process.kill()

        found = registry.champion_of(name)
        assert found.number in rivals
        assert {registry.PROMOTED_AT, registry.PREVIOUS} <= set(found.tags)
    model_store.load_model(registry.champion_of(name).uri)
