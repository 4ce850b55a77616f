"""SeaweedFS on the loopback, as an S3 server with one user that may write and one that may only read."""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.processes import HOST, ServerProcess, answers, free_ports, running

MANAGES, WRITES, READS = (
    ("Admin", "Read", "Write", "List", "Tagging"),
    ("Read", "Write", "List", "Tagging"),
    ("Read", "List"),
)


@dataclass(frozen=True)
class Login:
    """A user's key pair."""

    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables in which S3's clients look for it."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_DEFAULT_REGION": "us-east-1"}


MANAGER = Login("manager-of-tests", "secret-of-the-manager")
WRITER = Login("writer-of-tests", "secret-of-the-writer")
READER = Login("reader-of-tests", "secret-of-the-reader")
STRANGER = Login("stranger-of-tests", "secret-of-the-stranger")
RIGHTS = {MANAGER: MANAGES, WRITER: WRITES, READER: READS}


def find_weed() -> str | None:
    """Return SeaweedFS's program, of this Python's environment or of PATH."""
    own = Path(sys.executable).parent / "weed"
    return str(own) if own.exists() else shutil.which("weed")


def why_missing() -> str:
    """Return why SeaweedFS cannot be started here, or ""."""
    try:
        import boto3  # noqa: F401
    except ModuleNotFoundError:
        return "needs boto3: make setup-servers"
    return "" if find_weed() else "needs SeaweedFS (weed): make setup-servers"


class SeaweedFS(ServerProcess):
    """An S3 server."""

    def __init__(self, program: str, folder: Path) -> None:
        ports = free_ports(8)
        self.endpoint = f"http://{HOST}:{ports[6]}"
        config = folder / "s3.json"
        identities = [
            {
                "name": login.key,
                "actions": actions,
                "credentials": [{"accessKey": login.key, "secretKey": login.secret}],
            }
            for login, actions in RIGHTS.items()
        ]
        config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
        data = folder / "data"
        data.mkdir()
        options: dict[str, Any] = {"dir": data, "ip": HOST, "ip.bind": HOST, "s3": "true", "s3.config": config}
        for number, part in enumerate(("master", "volume", "filer", "s3")):
            options |= {f"{part}.port": ports[2 * number], f"{part}.port.grpc": ports[2 * number + 1]}
        options |= {"s3.port.iceberg": 0, "s3.port.lance": 0, "volume.preStopSeconds": 0}
        # each bucket takes seven volumes
        options |= {"volume.max": 300, "master.volumeSizeLimitMB": 64}
        line = [program, "server", *(f"-{name}={value}" for name, value in options.items())]
        super().__init__(line, folder, answers(self.endpoint, (200, 403)))

    @property
    def environment_of_clients(self) -> dict[str, str]:
        """The variables by which S3's clients find it, as the user that may write."""
        return {"AWS_ENDPOINT_URL": self.endpoint, **WRITER.environment}

    def client(self, login: Login = MANAGER) -> Any:
        """Return a client of boto3."""
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=login.key, aws_secret_access_key=login.secret,
            region_name="us-east-1",
        )  # fmt: skip

    def create_bucket(self, name: str) -> str:
        """Make a bucket and return its address."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys of the objects in a bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    """Run SeaweedFS for a block, with its files in an empty folder."""
    program = find_weed()
    assert program is not None, why_missing()
    server = SeaweedFS(program, folder)
    with running(server):
        yield server
