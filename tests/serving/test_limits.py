import asyncio
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving.metrics import Metrics
from serving.prediction_queue import PredictionQueue
from serving.served_model import ServedModel
from tests.serving.conftest import Running, encoded
from vision.model.onnx_runtime import Predictor

URL = "/v1/emotions"
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 400),
        (b"%PDF-1.7 not a picture", 415),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, 415),
        (encoded(np.zeros((64, 64), dtype=np.uint8))[:60], 422),
        (encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")[:900], 422),
    ],
    ids=["nothing", "a PDF", "a head alone", "a cut PNG", "a cut JPEG"],
)
def test_what_is_not_a_whole_picture_has_a_problem(running: Running, sent: bytes, status: int) -> None:
    answer = running.client.post(URL, content=sent)

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert "Traceback" not in answer.text


def test_a_bomb_is_not_decoded(running: Running) -> None:
    small = encoded(Image.new("1", (8, 8)))
    head = b"IHDR" + struct.pack(">II", 30_000, 30_000) + small[24:29]
    bomb = small[:12] + head + struct.pack(">I", zlib.crc32(head)) + small[33:]

    started = time.perf_counter()
    answer = running.client.post(URL, content=bomb)

    assert (answer.status_code, "serving.max_pixels" in answer.json()["detail"]) == (413, True)
    assert time.perf_counter() - started < 2


def test_a_body_with_more_bytes_than_allowed_is_refused(serve: Callable[..., Running]) -> None:
    client = serve(max_body_bytes=2000).client

    def in_pieces() -> Any:
        yield from [b"x" * 1500] * 2

    said = client.post(URL, content=b"x" * 3000)
    unsaid = client.post(URL, content=in_pieces())

    assert [said.status_code, unsaid.status_code] == [413, 413]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 422),
        ('{"picture": "aGk="}', 422),
        ('{"image": 7}', 422),
        ('{"image": "data:image/png;base64,aGk="}', 422),
        ('{"image": "ü"}', 422),
        ('{"image": ""}', 422),
        ('{"image": "aGk="}', 415),
        ("[" * 100_000, 400),
    ],
)
def test_a_wrong_json_body_has_a_problem(running: Running, body: str, status: int) -> None:
    answer = running.client.post(URL, content=body, headers={"content-type": "application/json"})

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)


def form_part(names: str) -> bytes:
    return f"--b\r\nContent-Disposition: form-data{names}\r\n\r\nx\r\n--b--".encode()


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"x", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--',
            422,
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", 400),
    ],
)
def test_a_wrong_form_has_a_problem(running: Running, kind: str, body: bytes, status: int) -> None:
    answer = running.client.post(URL, content=body, headers={"content-type": kind})

    assert answer.status_code == status


def test_a_picture_with_more_faces_than_allowed_is_refused(serve: Callable[..., Running], photo: bytes) -> None:
    answer = serve(max_faces=1).client.post(URL, content=photo)

    assert (answer.status_code, "2 faces" in answer.json()["detail"]) == (422, True)


UNKNOWN = [("GET", "/nothing", 404), ("GET", URL, 405), ("PUT", "/v2", 405)]


@pytest.mark.parametrize(("method", "path", "status"), UNKNOWN)
def test_an_unknown_path_or_method_has_a_problem(running: Running, method: str, path: str, status: int) -> None:
    answer = running.client.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)


def test_an_unexpected_error_shows_no_stack_trace(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("serving.service.search_picture", fail)
    answer = running.client.post(URL, content=b"x")

    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    count = 'face_emotion_requests_total{endpoint="/v1/emotions",status="500"} 1.0'
    assert count in running.client.get("/metrics").text


class Held:
    """A predictor that waits until it is let go, and counts what it is asked."""

    def __init__(self, model: ServedModel) -> None:
        self.go = threading.Event()
        self.asked: list[int] = []
        self.inner = model.predictor
        self.model = replace(model, predictor=Predictor(model.predictor.side, self.predict))

    def predict(self, faces: np.ndarray, batch_size: int) -> np.ndarray:
        self.asked.append(len(faces))
        self.go.wait(20)
        return np.asarray(self.inner.predict(faces, batch_size))


def test_one_request_more_than_there_is_room_for_is_told_when_to_come_back(
    serve: Callable[..., Running], model: ServedModel, photo: bytes
) -> None:
    held = Held(model)
    running = serve(first=held.model, max_requests=1)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(running.client.post, URL, content=photo)
        while not held.asked:
            time.sleep(0.01)
        second = running.client.post(URL, content=photo)
        held.go.set()

        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert first.result().status_code == 200


def test_an_answer_that_takes_too_long_is_given_up_and_work_that_waits_is_not_done(
    serve: Callable[..., Running], model: ServedModel, photo: bytes
) -> None:
    held = Held(model)
    running = serve(first=held.model, workers=1, timeout_seconds=0.6)
    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(running.client.post, URL, content=photo) for _ in range(3)]
        statuses = [answer.result().status_code for answer in answers]
        held.go.set()
        time.sleep(0.2)

        assert statuses == [504, 504, 504]
        assert len(held.asked) == 1
        assert running.service.limits.requests == 0


def test_faces_that_wait_are_predicted_together_and_nothing_waits_for_more(model: ServedModel) -> None:
    held = Held(model)
    queue = PredictionQueue(1, 4, Metrics())
    faces = np.zeros((1, 48, 48), dtype=np.uint8)
    answers = [queue.submit(held.model.predictor, faces)]
    while not held.asked:
        time.sleep(0.005)
    answers += [queue.submit(held.model.predictor, faces) for _ in range(6)]
    held.go.set()

    assert [answer.result(5).shape for answer in answers] == [(1, 7)] * 7
    assert held.asked == [1, 4, 2]
    queue.close()


def test_faces_of_different_models_are_never_predicted_together(model: ServedModel) -> None:
    first, second = Held(model), Held(model)
    queue = PredictionQueue(1, 64, Metrics())
    faces = np.zeros((2, 48, 48), dtype=np.uint8)
    order = [first, first, second, second, first]
    answers = [queue.submit(held.model.predictor, faces) for held in order]
    for held in (first, second):
        held.go.set()
    for answer in answers:
        answer.result(5)
    queue.close()

    assert sum(first.asked) == 6
    assert sum(second.asked) == 4


def test_a_prediction_that_fails_fails_for_those_who_wait_for_it_only(model: ServedModel) -> None:
    def fail(faces: np.ndarray, batch_size: int) -> np.ndarray:
        raise RuntimeError("broken")

    queue = PredictionQueue(1, 4, Metrics())
    faces = np.zeros((1, 48, 48), dtype=np.uint8)

    with pytest.raises(RuntimeError, match="broken"):
        queue.submit(Predictor(48, fail), faces).result(5)
    assert queue.submit(model.predictor, faces).result(5).shape == (1, 7)
    queue.close()


def test_concurrent_answers_equal_serial_ones(running: Running, photo: bytes) -> None:
    blank = encoded(np.zeros((60, 80, 3), dtype=np.uint8))
    serial = [running.client.post(URL, content=one).json() for one in (photo, blank)]

    def ask(number: int) -> Any:
        return running.client.post(URL, content=(photo, blank)[number % 2])

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(24)))

    for number, answer in enumerate(found):
        expected = serial[number % 2]
        assert [face["box"] for face in answer.json()["faces"]] == [face["box"] for face in expected["faces"]]
        for face, wanted in zip(answer.json()["faces"], expected["faces"], strict=True):
            assert face["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)


def test_the_figures_count_requests_faces_and_the_model(running: Running, photo: bytes) -> None:
    running.client.post(URL, content=photo)
    running.client.get("/nothing")

    text = running.client.get("/metrics").text

    assert f'face_emotion_requests_total{{endpoint="{URL}",status="200"}} 1.0' in text
    assert 'face_emotion_requests_total{endpoint="other",status="404"} 1.0' in text
    assert 'face_emotion_model_info{name="emotions"' in text
    assert "face_emotion_requests_under_way 0.0" in text


def test_a_body_that_comes_too_slowly_is_given_up(running: Running) -> None:
    from starlette.requests import Request

    from serving.problems import ProblemError

    limits = running.service.limits
    limits.settings = limits.settings.model_copy(update={"timeout_seconds": 0.2})

    async def ask() -> int:
        async def never() -> dict[str, Any]:
            await asyncio.sleep(30)
            return {}

        request = Request({"type": "http", "headers": [], "method": "POST", "path": URL}, never)
        try:
            async with limits.admitted(request):
                return 200
        except ProblemError as error:
            return error.status

    assert asyncio.run(ask()) == 408
    assert limits.requests == 0
