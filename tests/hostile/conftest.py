"""What is done with hostile files, in a process that has no more memory and time than a harmless one needs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 60  # of a process with all its imports; what is tested takes a few
# reads each file; prints the rows, or the sentence by which it is refused
READ = """
import json, resource, sys
from configs.errors import UserError
from configs.loading import load_settings
from vision.data.{module} import {function}

def shown(face):
    error = face.payload if isinstance(face.payload, Exception) else ""
    return {{"source": face.source[-80:], "label": face.label[:80], "error": str(error)}}

def read(settings):
    if "{function}" == "open_dataset":
        return [shown(face) for face in open_dataset(settings.dataset, 0).faces]
    return ingest_faces(settings.dataset, 0).table[["source", "label", "error"]].to_dict("records")

changes = json.loads(sys.argv[1])
cases = [load_settings([], {{"dataset": {{"path": path, "workers": 1, **changes}}}}) for path in sys.argv[3:]]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]) * 1_000_000,) * 2)
for settings in cases:
    try:
        print(json.dumps(read(settings)))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def confined(code: str, *arguments: str) -> list[str]:
    """Return the lines that a program prints, which must end well and soon."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.fixture
def read_confined() -> Callable[..., list[Any]]:
    """Return a function that reads data sets with so many more megabytes of memory than its imports take.

    It returns for each its rows (source, label, error), or the sentence by which it is refused.
    """
    if sys.platform != "linux":
        pytest.skip("memory is limited and measured as Linux does it")

    def read(*paths: Path, megabytes: int, decode: bool = False, **changes: Any) -> list[Any]:
        module, function = ("ingestion", "ingest_faces") if decode else ("readers", "open_dataset")
        code = READ.format(module=module, function=function)
        return [
            json.loads(line) for line in confined(code, json.dumps(changes), str(megabytes), *(str(p) for p in paths))
        ]

    return read


@pytest.fixture
def only_file(tmp_path: Path) -> Callable[[Path], None]:
    """Return a check that nothing lies anywhere beside or below a file's folder but that file."""

    def check(path: Path) -> None:
        assert [found for found in tmp_path.rglob("*") if not found.is_dir()] == [path]
        assert not list(tmp_path.parent.glob("evil*"))

    return check
