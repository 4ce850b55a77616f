import socket
import subprocess
import sys

import pytest

from commands.port import check_port
from configs.errors import UserError
from tests.conftest import PROJECT


def test_a_port_that_is_in_use_is_refused_with_another() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = [sys.executable, "-m", "commands.port", str(port)]
        done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode != 0
    assert done.stderr.startswith(f"error: port {port} cannot be used")
    assert "make ui PORT=" in done.stderr
    check_port(str(port))


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "http", "5000.5"])
def test_what_is_not_a_port_is_refused(port: str) -> None:
    with pytest.raises(UserError, match=f"PORT={port} is not a port"):
        check_port(port)
