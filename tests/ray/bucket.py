"""An S3 server with one bucket, as a process that can run in a network namespace; it ends with its input."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.servers.seaweedfs import seaweedfs

BUCKET = "faces"


def main(folder: str) -> None:
    """Fill a bucket with what `folder` holds, say by which variables it is found, and wait."""
    pictures, data = Path(folder), Path(folder, "../bucket")
    data.mkdir()
    with seaweedfs(data) as server:
        server.create_bucket(BUCKET)
        for path in sorted(pictures.iterdir()):
            server.client().upload_file(str(path), BUCKET, f"photos/{path.name}")
        say(server.environment_of_clients)
        for _ in sys.stdin:  # a line asks for the names of all objects
            say(server.names(BUCKET))


def say(facts: Any) -> None:
    sys.stdout.write(f"{json.dumps(facts)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
