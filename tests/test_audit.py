"""The locks, what is installed from them, and the audit that looks them up."""

import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.conftest import PROJECT


def pins(name: str) -> list[str]:
    """Return the packages of a lock, each with its markers and hashes, as pip reads them."""
    text = (PROJECT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("name", ["requirements.lock", ".ci/audit.lock"])
def test_every_locked_package_has_one_version_and_hashes_and_no_address(name: str) -> None:
    found = pins(name)

    assert len(found) > 20
    assert not [line for line in found if not re.match(r"[a-z0-9._-]+(\[\w,-]+\])?==[\w.!+]+ ", line)]
    assert not [line for line in found if not re.search(r"--hash=sha256:[0-9a-f]{64}", line)]
    assert "://" not in "".join(found)


def test_what_is_installed_is_checked_against_the_hashes() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"], cwd=PROJECT, capture_output=True, text=True, check=True
    )

    assert "pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock" in made.stdout
    assert "--require-hashes" in (PROJECT / ".ci" / "audit").read_text(encoding="utf-8")


def audit(tmp_path: Path, database: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the audit of a machine that has the tool, which stands in for itself and ends with this code."""
    tool = tmp_path / "bin" / "pip-audit"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "audit: $*"\nexit {code}\n', encoding="utf-8")
    tool.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "GITHUB_ACTIONS": "true", "PYTHON": sys.executable,
                   "AUDIT_DATABASE": database, "AUDIT_FOLDER": str(tmp_path)}  # fmt: skip
    return subprocess.run(
        [PROJECT / ".ci" / "audit"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


class Database(BaseHTTPRequestHandler):
    """Answers, as a database does that was asked nothing, with 400."""

    def do_POST(self) -> None:
        self.send_response(400)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


@pytest.mark.parametrize("code", [0, 1])
def test_the_audit_ends_as_the_tool_does_where_the_database_answers(code: int, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Database) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = audit(tmp_path, f"http://127.0.0.1:{server.server_port}/v1/query", code)
        server.shutdown()

    assert done.returncode == code, done.stderr
    for lock in PROJECT.glob("requirements*.lock"):
        assert f"--requirement {lock.name}" in done.stdout
    assert "--require-hashes" in done.stdout
    assert "SKIPPED" not in done.stdout


def test_the_audit_says_that_it_was_skipped_where_the_database_cannot_be_reached(tmp_path: Path) -> None:
    done = audit(tmp_path, "http://127.0.0.1:9/v1/query", code=1)

    assert done.returncode == 0
    assert "::warning::audit skipped: the database of vulnerabilities http://127.0.0.1:9/v1/query" in done.stdout
    assert "SKIPPED: " in done.stdout
    assert "audit: " not in done.stdout.replace("::warning::audit skipped", "")
