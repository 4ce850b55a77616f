import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT

# prints a line that no narrow encoding has, then more than any pipe holds, and ends with a code of its own
PRINTER = r"""
import sys
from commands.console import secure_output
secure_output()
print("\xdcn\xef \u2192 \U0001f600", flush=True)
print("\xdcn\xef \u2192 \U0001f600", file=sys.stderr, flush=True)
sys.stdin.read()
for _ in range(3):
    print("x" * 200_000)
    print("x" * 200_000, file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "cp1251"}, rb"\xdcn\xef \u2192 \U0001f600"),
        ({"PYTHONIOENCODING": "ascii:strict"}, rb"\xdcn\xef \u2192 \U0001f600"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, rb"\xdcn\xef \u2192 \U0001f600"),
        ({"PYTHONIOENCODING": "utf-8"}, "Ünï → 😀".encode()),
    ],
)
def test_what_the_outputs_encoding_lacks_is_written_as_its_escape(environment: dict[str, str], shown: bytes) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTER], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 3, done.stderr[-500:]
    assert done.stdout.splitlines()[0] == done.stderr.splitlines()[0] == shown


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_does_not_change_the_exit_code(unbuffered: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTER], cwd=PROJECT, env={"PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.stderr.close()
    process.stdin.close()

    assert process.wait(timeout=60) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize("redirected", [">/dev/full 2>/dev/full", ">&- 2>&-", ">&-", "2>&- </dev/null"])
def test_a_full_disk_or_a_closed_stream_does_not_change_the_exit_code(redirected: str) -> None:
    line = ["sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, PRINTER]

    done = subprocess.run(line, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)

    assert done.returncode == 3, done.stderr[-500:]
