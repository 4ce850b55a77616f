"""A service in this process, answered by a tiny ONNX model that is made once, and pictures for it."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from configs.loading import load_settings
from configs.settings import Settings
from serving.app import build_app
from serving.model_sources import RegisteredModels
from serving.served_model import ModelFacts, ModelFile, ServedModel, load_model
from serving.service import Service
from vision.data.synthetic import EXPRESSIONS, draw_face

NAMES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
SIDE = 48
HOST = "http://localhost"


def tiny_onnx(seed: int = 0, classes: int = len(NAMES)) -> bytes:
    """Return an ONNX file of one dense layer, (n, 48, 48, 1) float32 to probabilities."""
    onnx = pytest.importorskip("onnx")
    random = np.random.default_rng(seed)
    weights = random.normal(0, 0.001, (SIDE * SIDE, classes)).astype(np.float32)
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["faces"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("faces", float32, [None, SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("probabilities", float32, [None, classes])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


@pytest.fixture(scope="session")
def content() -> bytes:
    return tiny_onnx()


def model_of(content: bytes, version: str = "3", facts: ModelFacts | None = None) -> ServedModel:
    return load_model(ModelFile("emotions", version, "registry", content, NAMES), facts or ModelFacts(), 16)


@pytest.fixture(scope="session")
def model(content: bytes) -> ServedModel:
    return model_of(content)


def settings_with(inference: dict[str, Any] | None = None, **serving: Any) -> Settings:
    return load_settings([], {"inference": inference or {}, "serving": {"timeout_seconds": 5.0, **serving}})


@dataclass
class Running:
    """A service, and a client that asks it."""

    service: Service
    client: TestClient
    alerts: list[str] = field(default_factory=list)


@pytest.fixture
def serve(model: ServedModel) -> Iterator[Callable[..., Running]]:
    """Start a service with other settings; it ends with the test."""
    clients: list[TestClient] = []

    def start(
        models: RegisteredModels | None = None, first: ServedModel | None = None, *, name: str = HOST, **serving: Any
    ) -> Running:
        alerts: list[str] = []
        service = Service(settings_with(**serving), first or model, models, alerts.append)
        client = TestClient(build_app(service), base_url=name, raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return Running(service, client, alerts)

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def running(serve: Callable[..., Running]) -> Running:
    return serve()


def drawn_scene(*places: tuple[int, int, int], width: int = 640, height: int = 480) -> np.ndarray:
    """Return a (height, width, 3) picture with drawn faces at places of left, top and side."""
    picture = np.full((height, width), 90, dtype=np.uint8)
    random = np.random.default_rng(1)
    for expression, (left, top, side) in zip(EXPRESSIONS.values(), places, strict=False):
        picture[top : top + side, left : left + side] = draw_face(expression, side, 0.0, random)
    return np.stack([picture] * 3, axis=-1)


def encoded(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A picture of two faces."""
    return encoded(drawn_scene((40, 80, 200), (360, 140, 160)), "JPEG", quality=95)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
