"""A server for the page alone: it answers by the contract from canned faces, and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from tests.conftest import PROJECT

PAGE = PROJECT / "serving" / "page"
CLASSES = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
POLICY = (  # no looser than the server's
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MODEL = {"name": "face-emotion-classifier", "version": "7", "sha256": "0a1b2c3d" * 8, "source": "registry"}
CARD = """# Model card: *face-emotion-classifier*

## Headline metrics

| accuracy | macro-F1 |
| ---: | ---: |
| 69.29% (67.77% to 70.86%) | 67.10% |

## Uses that are off limits

- Emotion recognition at work.
- <img src=x onerror="document.title='taken'"> stays text, like [a link](javascript:alert(1)).

## Model details

| detail | value |
| --- | --- |
| run | 4f\\_2a |
| phases | everything: 42 epochs |
"""
FACTS: dict[str, Any] = {
    **MODEL,
    "since": "2026-11-27T18:05:00+00:00",
    "classes": CLASSES,
    "metrics": {
        "test/accuracy": 0.6929, "test/accuracy_low": 0.6777, "test/macro_f1": 0.6710, "test/faces": 3579.0,
        "test/expected_calibration_error": 0.0441, "test_clean/accuracy": 0.6842, "test_clean/macro_f1": 0.6608,
        "test_clean/faces": 3300.0, "test_class/recall_happy": 0.87,
    },
    "decision": {"promoted": True, "reasons": ["macro-F1 rose by 1.2 points, and no class lost more than 3."]},
    "previous": {"version": "6", "metrics": {"test/accuracy": 0.6781, "test_clean/accuracy": 0.6585}},
    "card": CARD,
    "mlflow": "http://127.0.0.1:5000/#/experiments/1/runs/4f2a",
    "limits": {"max_pixels": 40_000_000, "max_file_bytes": 20_000_000, "max_faces": 50},
    "threshold": 0.4,
}  # fmt: skip


def face(x: float, y: float, side: float, emotion: str, confidence: float = 0.82) -> dict[str, Any]:
    """Return a face as the server describes it; what `emotion` leaves is shared by the other classes."""
    rest = (1 - confidence) / (len(CLASSES) - 1)
    probabilities = {name: confidence if name == emotion else rest for name in CLASSES}
    box = {"x": x, "y": y, "width": side, "height": side}
    known = {"emotion": emotion, "confidence": confidence, "uncertain": confidence < FACTS["threshold"]}
    return {"box": box, "score": 0.97, **known, "probabilities": probabilities}


@dataclass(frozen=True)
class Refusal:
    """A problem instead of faces."""

    status: int
    detail: str
    retry_after: int | None = None


@dataclass(frozen=True)
class Asked:
    """What one picture came with."""

    content_type: str
    token: str | None
    size: tuple[int, int] | None  # width and height, where it is a picture that OpenCV reads


Answer = list[dict[str, Any]] | Refusal
Script = Callable[[int, Asked], Answer]


@dataclass
class Stub:
    """What the server answers, and what it was asked; `script` gets the number of the request, from 0."""

    script: Script = lambda number, asked: []
    too_small: int = 0
    first_of_several: bool = False
    seconds: float = 0.0  # that each answer takes
    token: str | None = None
    facts: dict[str, Any] = field(default_factory=lambda: dict(FACTS))
    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """Forget everything but the address."""
        fresh = Stub(address=self.address)
        with self.lock:
            self.__dict__.update({name: value for name, value in fresh.__dict__.items() if name != "lock"})


@contextmanager
def running_stub() -> Iterator[Stub]:
    """Serve on a free port of this machine until the block ends."""
    stub = Stub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": stub}))
    stub.address = f"http://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield stub
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    stub: Stub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output to what matters."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/model":
            if self._is_allowed():
                self._send_json(200, self.stub.facts)
            return
        file = PAGE / ("index.html" if path == "/" else path.removeprefix("/page/"))
        if not file.is_file():
            self._send_problem(Refusal(404, "Not found."))
            return
        self._send(200, TYPES[file.suffix], file.read_bytes(), {"Content-Security-Policy": POLICY})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._is_allowed():
            return
        picture = cv2.imdecode(np.frombuffer(body, dtype=np.uint8), cv2.IMREAD_COLOR) if body else None
        size = None if picture is None else (picture.shape[1], picture.shape[0])
        asked = Asked(self.headers["Content-Type"], self.headers["Authorization"], size)
        with self.stub.lock:
            number = len(self.stub.asked)
            self.stub.asked.append(asked)
            self.stub.under_way += 1
            self.stub.most_under_way = max(self.stub.most_under_way, self.stub.under_way)
        time.sleep(self.stub.seconds)
        answer = self.stub.script(number, asked)
        with self.stub.lock:
            self.stub.under_way -= 1
        if isinstance(answer, Refusal):
            self._send_problem(answer)
            return
        width, height = size or (640, 480)
        known = {"model": {name: self.stub.facts[name] for name in MODEL}, "width": width, "height": height}
        counted = {"too_small": self.stub.too_small, "first_of_several": self.stub.first_of_several}
        self._send_json(200, {**known, "faces": answer, **counted})

    def _is_allowed(self) -> bool:
        if self.stub.token is None or self.headers["Authorization"] == f"Bearer {self.stub.token}":
            return True
        self._send_problem(Refusal(401, "This server asks for a token."))
        return False

    def _send_problem(self, refusal: Refusal) -> None:
        problem = {"type": "about:blank", "title": "Problem", "status": refusal.status, "detail": refusal.detail}
        more = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        self._send(refusal.status, "application/problem+json", json.dumps(problem).encode(), more)

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(answer).encode(), {})

    def _send(self, status: int, content_type: str, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
