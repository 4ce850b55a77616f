import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.measuring import run_module
from benchmarks.served_requests import CROPS_A_PHOTO, PHOTOS, write_targets
from vision.data.synthetic import EXPRESSIONS, draw_face


class Answers(BaseHTTPRequestHandler):
    """Answers 200, but 503 to a body that begins with `no`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if body.startswith(b"no") else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_load_client_counts_answers_and_refusals(tmp_path: Path, port: int) -> None:
    targets = []
    for body in ("yes", "no"):
        (tmp_path / body).write_text(body, encoding="utf-8")
        targets.append({"path": "/", "content_type": "text/plain", "file": str(tmp_path / body)})
    (tmp_path / "targets.json").write_text(json.dumps(targets), encoding="utf-8")
    given = [str(tmp_path / "targets.json"), "--port", str(port), "--answers", str(tmp_path / "answers.npy")]

    seen = run_module("benchmarks.load_client", *given, "--callers", "2", "--requests", "40")

    assert seen["statuses"] == {"200": 20, "503": 20}
    assert 0 < seen["p50"] <= seen["p99"] <= seen["longest"]
    assert np.load(tmp_path / "answers.npy").shape == (40, 3)


def test_the_load_client_counts_connections_that_fail(tmp_path: Path) -> None:
    (tmp_path / "body").write_text("yes", encoding="utf-8")
    targets = [{"path": "/", "content_type": "text/plain", "file": str(tmp_path / "body")}]
    (tmp_path / "targets.json").write_text(json.dumps(targets), encoding="utf-8")

    seen = run_module("benchmarks.load_client", str(tmp_path / "targets.json"), "--port", "1", "--requests", "3")

    assert seen["statuses"] == {"0": 3}


def test_requests_are_crops_batches_and_photos_of_two_faces(tmp_path: Path) -> None:
    faces = np.stack([draw_face(EXPRESSIONS["happy"], 48, 2.0, np.random.default_rng(seed)) for seed in range(3)])

    targets = write_targets(tmp_path, "emotions", faces)

    (crop,), (batch,) = (json.loads(path.read_text(encoding="utf-8")) for path in (targets.crop, targets.batch))
    crop_body, batch_body = (json.loads(Path(one["file"]).read_text(encoding="utf-8")) for one in (crop, batch))
    assert crop["path"] == batch["path"] == "/v2/models/emotions/infer"
    assert crop_body["inputs"][0]["shape"] == [1, 48, 48, 1]
    assert batch_body["inputs"][0]["shape"] == [64, 48, 48, 1]
    np.testing.assert_array_equal(crop_body["inputs"][0]["data"], faces[0].ravel())
    assert len(batch_body["inputs"][0]["data"]) == 64 * 48 * 48
    photo = cv2.imread(str(targets.photo_files[0]))
    assert photo.shape == (480, 640, 3)
    mixed = json.loads(targets.mixed.read_text(encoding="utf-8"))
    assert len(mixed) == PHOTOS * (1 + CROPS_A_PHOTO)
    assert sum(one["path"] == "/v1/emotions" for one in mixed) == PHOTOS
