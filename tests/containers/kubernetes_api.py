"""A stand-in for a cluster's API: takes what a cluster with strict field validation would take, and runs nothing."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = "1.33"
GROUPS = {"api": "v1", "apis": "batch/v1"}
KINDS = {"jobs": "Job", "cronjobs": "CronJob", "pods": "Pod", "secrets": "Secret"}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}


class KubernetesAPI:
    """What was created, by kind, and the sentences for what was refused."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.created: dict[str, list[dict[str, Any]]] = {resource: [] for resource in KINDS}
        self.refused: list[str] = []

    def write_config(self, path: Path, context: str) -> Path:
        """Write a kubeconfig with this context."""
        named = {
            "clusters": [{"name": "stand-in", "cluster": {"server": self.address}}],
            "users": [{"name": "tests", "user": {"token": "of-tests"}}],
            "contexts": [{"name": context, "context": {"cluster": "stand-in", "user": "tests"}}],
        }
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": context, **named}))
        return path

    def jobs(self, label: str) -> dict[str, dict[str, Any]]:
        """Return the jobs with a label, by the label's value."""
        found = [(job["metadata"]["labels"].get(label), job) for job in self.created["jobs"]]
        return {value: job for value, job in found if value}

    def create(self, resource: str, body: dict[str, Any], version: str) -> tuple[int, dict[str, Any]]:
        """Keep an object. Returns status 422 and the sentence for one that Kubernetes would refuse."""
        from kubernetes_validate import ValidationError, validate

        stored = {"apiVersion": version, "kind": KINDS[resource], **body}
        try:
            validate(stored, KUBERNETES, strict=True)
        except ValidationError as error:
            self.refused.append(error.message)
            return 422, {"kind": "Status", "status": "Failure", "message": error.message, "code": 422}
        self.created[resource].append(stored)
        return 201, {**stored, "metadata": {**stored["metadata"], "uid": str(len(self.created[resource]))}}

    def read(self, resource: str, name: str) -> tuple[int, dict[str, Any]]:
        """Return an object; a job is complete at once, and a pod, whatever its name, is of the first job."""
        if resource == "pods":
            labels = {"job-name": self.created["jobs"][0]["metadata"]["name"]}
            return 200, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}}
        found = [stored for stored in self.created[resource] if stored["metadata"]["name"] == name]
        return (200, {**found[0], "status": COMPLETE}) if found else (404, {"kind": "Status", "code": 404})


class _Handler(BaseHTTPRequestHandler):
    api: KubernetesAPI

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _asked(self) -> tuple[str, str, str]:
        """Return version, resource and name, which is empty for all of them."""
        root, *rest = self.path.partition("?")[0].strip("/").split("/")
        version, (resource, *name) = GROUPS[root], rest[rest.index("namespaces") + 2 :]
        return version, resource, "/".join(name)

    def do_GET(self) -> None:
        version, resource, name = self._asked()
        if name:
            self._answer(*self.api.read(resource, name))
        else:
            self._answer(200, {"apiVersion": version, "kind": f"{KINDS[resource]}List", "metadata": {}, "items": []})

    def do_POST(self) -> None:
        version, resource, _ = self._asked()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(*self.api.create(resource, body, version))

    def do_PATCH(self) -> None:
        _, resource, name = self._asked()
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(*self.api.read(resource, name))

    def do_DELETE(self) -> None:
        self._answer(200, {"kind": "Status", "status": "Success"})

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@contextlib.contextmanager
def kubernetes_api() -> Iterator[KubernetesAPI]:
    """Answer as a cluster's API for a block."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.api = KubernetesAPI(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield handler.api
        finally:
            server.shutdown()
