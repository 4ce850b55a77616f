"""A ZenML server on the loopback, of its own environment: zenml[server] does not resolve with this project's lock."""

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.conftest import PROJECT
from tests.servers.processes import HOST, ServerProcess, answers, free_ports, running

ENVIRONMENT = PROJECT / ".venv-zenml-server"  # made by `make setup-servers`
ADMIN, PASSWORD = "tests", "secret-of-zenml"


def find_python() -> Path | None:
    """Return the Python of the server's environment."""
    python = ENVIRONMENT / "bin" / "python"
    return python if python.exists() else None


def why_missing() -> str:
    """Return why a ZenML server cannot be started here, or ""."""
    return "" if find_python() else f"needs a ZenML server in {ENVIRONMENT.name}: make setup-servers"


class ZenMLServer(ServerProcess):
    """A ZenML server with an account for its administrator and one for a program."""

    def __init__(self, python: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url, self.api_key = f"http://{HOST}:{port}", ""
        line = [
            str(python), "-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", HOST, "--port", str(port),
        ]  # fmt: skip
        home = folder / "home"
        (home / "config").mkdir(parents=True)
        super().__init__(line, folder, answers(f"{self.url}/health"))
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(home),
            "ZENML_CONFIG_PATH": str(home / "config"),
            "ZENML_STORE_URL": f"sqlite:///{home / 'zenml.db'}",
            "ZENML_SERVER_DEPLOYMENT_TYPE": "other",
            "ZENML_SERVER_AUTO_ACTIVATE": "true",
            "ZENML_SERVER_JWT_SECRET_KEY": "5" * 64,  # so that logins outlive a restart
            "ZENML_DEFAULT_USER_NAME": ADMIN,
            "ZENML_DEFAULT_USER_PASSWORD": PASSWORD,
            "ZENML_ANALYTICS_OPT_IN": "false",
        }

    @property
    def environment_of_clients(self) -> dict[str, str]:
        """The variables by which ZenML finds the server and logs in."""
        return {"ZENML_STORE_URL": self.url, "ZENML_STORE_API_KEY": self.api_key}

    def make_api_key(self) -> str:
        """Make an account for programs and return its key."""
        form = urlencode({"username": ADMIN, "password": PASSWORD}).encode()
        token = self._post("login", form, {})["access_token"]
        login = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        account = self._post("service_accounts", b'{"name": "pipelines", "active": true}', login)["id"]
        answer = self._post(f"service_accounts/{account}/api_keys", b'{"name": "pipelines"}', login)
        self.api_key = str(answer["body"]["key"])
        return self.api_key

    def log_in(self, api_key: str) -> str:
        """Return the token that the server gives for a key. Raises HTTPError where it does not know it."""
        return str(
            self._post("login", urlencode({"grant_type": "zenml-api-key", "password": api_key}).encode(), {})[
                "access_token"
            ]
        )

    def _post(self, path: str, data: bytes, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def zenml_server(folder: Path) -> Iterator[ZenMLServer]:
    """Run a ZenML server for a block, with its files in an empty folder, and an API key made."""
    python = find_python()
    assert python is not None, why_missing()
    server = ZenMLServer(python, folder)
    with running(server):
        server.make_api_key()
        yield server
