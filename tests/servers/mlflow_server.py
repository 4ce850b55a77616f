"""An MLflow server on the loopback, with any database and any place for its artifacts."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.servers.processes import HOST, ServerProcess, answers, free_ports, running


class MlflowServer(ServerProcess):
    """`mlflow server`, which hands out its artifacts itself."""

    def __init__(self, folder: Path, database: str, artifacts: str, environment: Mapping[str, str]) -> None:
        (port,) = free_ports(1)
        self.uri = f"http://{HOST}:{port}"
        line = [
            sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1",
            "--backend-store-uri", database, "--artifacts-destination", artifacts,
        ]  # fmt: skip
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
        if "AWS_ENDPOINT_URL" in environment:
            quiet["MLFLOW_S3_ENDPOINT_URL"] = environment["AWS_ENDPOINT_URL"]
        super().__init__(line, folder, answers(f"{self.uri}/health"), {**quiet, **environment})
        for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
            self.environment.pop(name, None)


@contextlib.contextmanager
def mlflow_server(
    folder: Path, database: str, artifacts: str, environment: Mapping[str, str] | None = None
) -> Iterator[MlflowServer]:
    """Run an MLflow server for a block; `environment` is what it needs to reach `artifacts`."""
    server = MlflowServer(folder, database, artifacts, environment or {})
    with running(server):
        yield server
