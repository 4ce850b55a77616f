"""Which worker of pytest-xdist does what, and in which order."""

from typing import Any

import pytest

# the second worker begins with what needs no preloaded process, which the first is starting then
LONG = (
    "tests/pipelines",
    "tests/vision/training/test_checkpoints.py",
    "tests/test_workflows.py",
    "tests/test_secrets.py",
    "tests/test_docs_life.py",
    "tests/steps/test_promotion_steps.py",
    "tests/vision/training/test_loop.py",
    "tests/vision/test_standalone.py",
    "tests/vision/training/test_tuning.py",
    "tests/vision/training/test_devices.py",
    "tests/stack/test_local_stack.py",
    "tests/vision/model/test_classifier.py",
    "tests/test_loopback.py",
    "tests/vision/lifecycle/test_onnx_export.py",
    "tests/steps/test_onnx_steps.py",
    "tests/hostile/test_archives.py",
    "tests/steps/test_data_steps.py",
)


def unit(nodeid: str) -> str:
    """Return what one worker does alone, because its fixtures are made once: a file, or all of tests/pipelines."""
    return LONG[0] if nodeid.startswith(LONG[0]) else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest: a worker that starts with it at the end works alone."""

    def place(item: pytest.Item) -> int:
        return LONG.index(unit(item.nodeid)) if unit(item.nodeid) in LONG else len(LONG)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share the tests out by `unit`; the groups of pytest-xdist 3.8 have no effect under pytest 9.2."""
    from xdist.scheduler.loadfile import LoadFileScheduling

    class ByUnit(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    return ByUnit(config, log)
