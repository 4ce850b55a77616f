"""Podman as the engine of ZenML's local_docker orchestrator: its service on a socket, and an image of this checkout."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import PROJECT
from tests.servers.processes import ServerProcess, running

IMAGE, TESTED = "face-emotion", "localhost/face-emotion-of-tests:latest"
RUNTIMES = ("crun", "runc")
# root in a virtual machine may not raise limits, which is Podman's default; loopback servers need the host's network
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


def why_missing() -> str:
    """Return why containers cannot be run here, or ""."""
    if shutil.which("podman") is None or not any(map(shutil.which, RUNTIMES)):
        return "needs Podman and runc: apt-get install podman runc"
    there = subprocess.run(["podman", "image", "exists", IMAGE], capture_output=True, check=False)
    return f"needs the image {IMAGE}: make image ENGINE=podman" if there.returncode else ""


class Podman(ServerProcess):
    """Podman's service; `environment_of_clients` makes Docker's clients talk to it."""

    def __init__(self, folder: Path) -> None:
        self.socket, self.configuration, self.programs = (
            folder / "podman.sock",
            folder / "containers.conf",
            folder / "bin",
        )
        self.configuration.write_text(CONFIGURATION, encoding="utf-8")
        self.programs.mkdir()
        docker = self.programs / "docker"  # ZenML looks for the program before it asks the service
        docker.write_text('#!/bin/sh\nexec podman "$@"\n', encoding="utf-8")
        docker.chmod(0o755)
        line = ["podman", "system", "service", "--time", "0", f"unix://{self.socket}"]
        super().__init__(line, folder, self._is_ready, {"CONTAINERS_CONF": str(self.configuration)})

    @property
    def environment_of_clients(self) -> dict[str, str]:
        """The variables by which Docker's clients, and ZenML, find the service."""
        return {"DOCKER_HOST": f"unix://{self.socket}", "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}

    def build(self) -> str:
        """Put this checkout's code into the image, and return the new one's name."""
        lines = f"FROM {IMAGE}\nCOPY . .\n"
        self.call("build", "--quiet", "--tag", TESTED, "--file", "-", str(PROJECT), given=lines)
        return TESTED

    def call(self, *words: str, given: str = "") -> str:
        """Return what Podman says to a command. Raises CalledProcessError with its words where it fails."""
        done = subprocess.run(
            ["podman", *words], env=self.environment, input=given, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"podman {' '.join(words)}: {done.stderr}")
        return done.stdout

    def containers(self) -> dict[str, str]:
        """Return the command lines of the containers that run, by their id."""
        found = json.loads(self.call("ps", "--format", "json"))
        return {one["Id"]: " ".join(one["Command"] or []) for one in found if TESTED in one["Image"]}

    def logs_of(self, step: str, without: str = "") -> str:
        """Return what all containers of a step have said, whether they still run or not, but one."""
        found = json.loads(self.call("ps", "--all", "--format", "json"))
        of_step = [one["Id"] for one in found if f"--step_name {step}" in " ".join(one["Command"] or [])]
        return "".join(self.call("logs", name) for name in of_step if name != without)

    def _is_ready(self) -> bool:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True


@contextlib.contextmanager
def podman(folder: Path) -> Iterator[Podman]:
    """Run Podman's service for a block, and end the containers that it leaves."""
    server = Podman(folder)
    with running(server):
        try:
            yield server
        finally:
            for name in server.call("ps", "--all", "--quiet", "--filter", f"ancestor={TESTED}").split():
                server.call("rm", "--force", name)
