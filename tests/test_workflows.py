"""The workflows: parsed, and the retraining job's own commands run on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.conftest import PROJECT, TOY, copy_state
from tests.preloaded import Command, PreloadedProcess
from tests.toy_network import IN_A_PROCESS

WORKFLOWS = PROJECT / ".github" / "workflows"
# stands in for GitHub's command line: `release list` and `release download` look into a folder of releases
GH = """#!/usr/bin/env bash
set -euo pipefail
case "$1 $2" in
  "release list") ls -t "$RELEASES" | head -n 1 ;;
  "release download") cp "$RELEASES/$3/champion.zip" champion.zip ;;
  *) echo "unexpected: gh $*" >&2; exit 64 ;;
esac
"""
# stands in for the environment's Python: hands its words to the preloaded process, which saves the imports of five runs
SHIM = """#!{python} -SE
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as door, door.makefile("rw") as stream:
    print(json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]), file=stream, flush=True)
    code, said = json.loads(stream.readline())
print(said, end="")
sys.exit(code)
"""
CONDITIONS: dict[str, Callable[[dict[str, str]], bool]] = {
    "always()": lambda environment: True,
    "env.MLFLOW_TRACKING_URI == ''": lambda environment: not environment.get("MLFLOW_TRACKING_URI"),
    "${{ !cancelled() && env.MLFLOW_TRACKING_URI == '' }}": lambda environment: not environment["MLFLOW_TRACKING_URI"],
}
AFTER_A_FAILURE = ("always()", "!cancelled()")


def workflow(name: str) -> dict[str, Any]:
    text = (WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")
    return {str(key): value for key, value in yaml.safe_load(text).items()}  # YAML reads the key `on` as true


@pytest.mark.parametrize("name", ["ci", "retrain"])
def test_each_job_has_a_time_limit_and_no_more_rights_than_it_needs(name: str) -> None:
    content = workflow(name)

    assert content["permissions"] == {"contents": "read"}
    assert content["concurrency"]["group"]
    for job, described in content["jobs"].items():
        assert described["timeout-minutes"] <= 300
        assert described.get("permissions", {}) == ({"contents": "write"} if job == "release" else {})
    assert "|| true" not in (WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")
    assert "continue-on-error" not in (WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")


def test_retraining_runs_weekly_or_by_hand_and_one_at_a_time() -> None:
    content = workflow("retrain")

    (schedule,) = content["True"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", schedule["cron"])
    assert set(content["True"]["workflow_dispatch"]["inputs"]) == {"config", "dry_run"}
    assert content["concurrency"] == {"group": "retrain", "cancel-in-progress": False}


def test_no_input_or_secret_is_pasted_into_a_script() -> None:
    scripts = [step["run"] for name in ("ci", "retrain") for job in workflow(name)["jobs"].values()
               for step in job["steps"] if "run" in step]  # fmt: skip

    assert len(scripts) >= 6
    assert not [script for script in scripts if "${{" in script]


class Machine:
    """A fresh clone with an empty HOME, as a runner gives one, and the folder of releases that outlives it.

    `python` is the text of the program that stands in for the environment's Python.
    """

    def __init__(self, folder: Path, releases: Path, config: Path, python: str) -> None:
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir(parents=True)
        (tools / "gh").write_text(GH, encoding="utf-8")
        (tools / "gh").chmod(0o755)
        clone = ["git", "clone", "--quiet", str(PROJECT), str(folder / "clone")]
        subprocess.run(clone, check=True, capture_output=True, timeout=60)
        # what is not committed yet is tested too
        changed = subprocess.run(
            ["git", "ls-files", "--modified", "--others", "--exclude-standard", "--deduplicate"],
            cwd=PROJECT, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        for name in changed:
            if (PROJECT / name).is_file():
                (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(PROJECT / name, folder / "clone" / name)
        for place in (Path(sys.prefix), Path(sys.prefix, "bin")):  # the cache
            copy = folder / "clone" / ".venv" / place.relative_to(sys.prefix)
            copy.mkdir()
            for path in place.iterdir():
                if path.name not in ("bin", "python"):
                    (copy / path.name).symlink_to(path)
        (folder / "clone" / ".venv" / "bin" / "python").write_text(python, encoding="utf-8")
        (folder / "clone" / ".venv" / "bin" / "python").chmod(0o755)
        (folder / "home").mkdir()
        self.environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "RELEASES": str(releases),
            "CONFIG": str(config),
            "DRY_RUN": "false",
            "MLFLOW_TRACKING_URI": "",  # as GitHub sets a secret that there is not
            "MLFLOW_TRACKING_USERNAME": "",
            "MLFLOW_TRACKING_PASSWORD": "",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_OUTPUT": str(folder / "output"),
        }

    def retrain(self) -> tuple[bool, str]:
        """Run each `run:` of the job in order; return whether it was green, and all that was said."""
        green, said = True, ""
        for step in workflow("retrain")["jobs"]["retrain"]["steps"]:
            condition = step.get("if", "")
            wanted = CONDITIONS[condition](self.environment) if condition in CONDITIONS else not condition
            if "run" not in step or not wanted or not (green or any(call in condition for call in AFTER_A_FAILURE)):
                continue
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
                cwd=self.folder / "clone", env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=600, check=False,
            )  # fmt: skip
            said += f"--- {step['name']}\n{done.stdout}"
            green = green and done.returncode == 0
        return green, said

    def released(self) -> bool:
        output = self.folder / "output"
        return output.exists() and "exported=true" in output.read_text(encoding="utf-8")


@pytest.fixture
def shim(preloaded: PreloadedProcess, tmp_path: Path) -> Iterator[str]:
    """Return the text of a Python that has the preloaded process run what it is given."""

    class Door(StreamRequestHandler):
        def handle(self) -> None:
            folder, environment, (program, *words) = json.loads(self.rfile.readline())
            assert program == "run.py"
            output = Path(tempfile.mkdtemp(dir=tmp_path), "output.txt")
            commands: list[Command] = [({}, ["-c", IN_A_PROCESS]), ({}, words)]
            _, done = preloaded.run(Path(folder), environment, commands, output)
            self.wfile.write(json.dumps(done).encode() + b"\n")

    with TCPServer(("127.0.0.1", 0), Door) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield SHIM.format(python=sys.executable, port=server.server_address[1])
        server.shutdown()


def test_retraining_twice_meets_its_first_champion(tmp_path: Path, empty_state: Path, shim: str) -> None:
    config = tmp_path / "toy.yaml"
    promotion = {**TOY["promotion"], "allow_drawn": True}
    config.write_text(yaml.safe_dump({**TOY, "promotion": promotion}), encoding="utf-8")
    releases = tmp_path / "releases"
    releases.mkdir()

    first = Machine(tmp_path / "first", releases, config, shim)
    copy_state(empty_state, first.folder / "clone" / ".state")
    green, said = first.retrain()

    assert green, said
    assert "There is no released champion yet" in said
    assert "promoted  " in said
    assert "## Version 1: promoted" in (tmp_path / "first" / "summary.md").read_text(encoding="utf-8")
    assert first.released()
    (releases / "champion-1").mkdir()
    shutil.copyfile(tmp_path / "first" / "clone" / "release" / "champion.zip", releases / "champion-1" / "champion.zip")

    second = Machine(tmp_path / "second", releases, config, shim)
    copy_state(empty_state, second.folder / "clone" / ".state")
    green, said = second.retrain()

    assert green, said
    assert "champion                    version 1" in said
    assert "data, settings and code are those that champion version 1 was trained with" in said
    assert not second.released()


PROMOTES_THEN_FAILS = """#!/bin/sh
case "$*" in
  *retraining*) mkdir -p reports/run && echo "## Version 1: promoted" > reports/run/decision.md; exit 2 ;;
  *export*) touch release/champion.zip ;;
esac
"""


def test_a_champion_is_released_though_a_later_step_failed(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    machine = Machine(tmp_path / "machine", tmp_path / "releases", tmp_path / "none.yaml", PROMOTES_THEN_FAILS)
    (tmp_path / "machine" / "clone" / "Makefile").write_text("setup: ;\n", encoding="utf-8")

    green, said = machine.retrain()

    assert not green, said
    assert machine.released()
    jobs = workflow("retrain")["jobs"]
    assert "!cancelled()" in jobs["release"]["if"]
    assert "!cancelled()" in next(
        step["if"] for step in jobs["retrain"]["steps"] if step.get("with", {}).get("path") == "release"
    )


@pytest.mark.parametrize(
    ("code", "green", "said"),
    [
        (0, True, ""),
        (3, True, "::notice::Held"),
        (4, False, "::error::Rejected"),
        (5, False, "::error::The data failed"),
        (2, False, "::error::Retraining ended with code 2"),
    ],
)
def test_the_exit_code_decides_whether_the_job_is_green(code: int, green: bool, said: str, tmp_path: Path) -> None:
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
    python.chmod(0o755)
    (step,) = [step for step in workflow("retrain")["jobs"]["retrain"]["steps"] if step.get("id") == "retrain"]

    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "CONFIG": "x", "DRY_RUN": "false"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode == 0) == green
    assert done.stdout.startswith(said)
