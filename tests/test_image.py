"""The image: what goes into it and what stays out, without building one."""

import re
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from tests.conftest import PROJECT
from vision.files.hashes import CODE_FOLDERS

NEVER = [".env", ".git/config", ".state/zenml/x.db", ".venv/bin/python", "data/me.png", "reports/a.html"]
PINNED = re.compile(r"^([a-z0-9_.-]+(?:\[[^\]]*\])?)==(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return what a build would send of the project, and of what a checkout may hold besides."""
    root = tmp_path_factory.mktemp("checkout")
    tracked = [path.relative_to(PROJECT) for folder in (*CODE_FOLDERS, "commands", "serving", "tests", "docs")
               for path in (PROJECT / folder).rglob("*.*")]  # fmt: skip
    files = [*tracked, *(path.relative_to(PROJECT) for path in PROJECT.glob("[!.]*.*")), *map(Path, NEVER)]
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    patterns = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return {str(path) for path in exclude_paths(str(root), [line for line in patterns if not line.startswith("#")])}


def test_a_build_sends_all_code_that_a_run_depends_on(context: set[str]) -> None:
    code = {path.relative_to(PROJECT).as_posix() for folder in (*CODE_FOLDERS, "commands", "serving")
            for path in (PROJECT / folder).rglob("*.py")}  # fmt: skip

    assert code - context == set()


@pytest.mark.parametrize("name", NEVER)
def test_a_build_never_sends(name: str, context: set[str]) -> None:
    assert name not in context


def test_a_build_sends_no_tests_and_no_bytecode(context: set[str]) -> None:
    assert [name for name in context if name.startswith("tests") or "__pycache__" in name] == []


def test_the_image_has_the_versions_that_are_tested() -> None:
    locks = {name: dict(PINNED.findall((PROJECT / name).read_text(encoding="utf-8")))
             for name in ("requirements.lock", "requirements-servers.lock", "requirements-image.lock")}  # fmt: skip
    tested = locks["requirements.lock"] | locks["requirements-servers.lock"]

    different = {name: version for name, version in locks["requirements-image.lock"].items() if tested[name] != version}

    assert different == {}


def test_the_image_runs_as_a_user_who_is_not_root() -> None:
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line.startswith("USER")] == ["USER 1000"]
