"""The Open Inference Protocol, REST, as its specification (kserve/open-inference-protocol) has it."""

from typing import Any

import numpy as np
import pytest

from serving.served_model import ServedModel
from tests.serving.conftest import NAMES, SIDE, Running

MODEL = "/v2/models/emotions"


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)


def request(faces: np.ndarray, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "faces", "shape": [len(faces), SIDE, SIDE, 1], "datatype": "UINT8",
              "data": faces.ravel().tolist()}  # fmt: skip
    return {"inputs": [{**tensor, **changes}]}


def test_the_server_describes_itself(running: Running) -> None:
    found = running.client.get("/v2").json()

    assert {name: type(value) for name, value in found.items()} == {"name": str, "version": str, "extensions": list}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_the_probes_say_that_the_server_lives(running: Running, path: str) -> None:
    assert running.client.get(path).json()["live"] is True


def test_a_draining_server_is_not_ready(running: Running) -> None:
    running.service.draining = True

    assert running.client.get("/v2/health/ready").status_code == 503
    assert running.client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/3"])
def test_a_model_says_its_versions_input_and_output(running: Running, path: str) -> None:
    assert running.client.get(path).json() == {
        "name": "emotions",
        "versions": ["3"],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": "faces", "datatype": "FP32", "shape": [-1, SIDE, SIDE, 1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, len(NAMES)]}],
    }
    assert running.client.get(f"{path}/ready").json() == {"name": "emotions", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/other", f"{MODEL}/versions/4", f"{MODEL}/versions/4/ready"])
def test_another_model_or_version_is_not_found(running: Running, path: str) -> None:
    answer = running.client.get(path)

    assert answer.status_code == 404
    assert answer.json()["error"] == answer.json()["detail"]


@pytest.mark.parametrize("path", [f"{MODEL}/infer", f"{MODEL}/versions/3/infer"])
def test_crops_are_answered_as_the_model_predicts(running: Running, model: ServedModel, path: str) -> None:
    faces = crops(5)

    found = running.client.post(path, json={**request(faces), "id": "42"}).json()

    assert (found["model_name"], found["model_version"], found["id"]) == ("emotions", "3", "42")
    (output,) = found["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("probabilities", [5, 7], "FP32")
    np.testing.assert_allclose(np.reshape(output["data"], (5, 7)), model.predictor.predict(faces, 16), atol=1e-6)


def test_nested_data_and_fractions_are_answered_as_flat_whole_numbers(running: Running) -> None:
    faces = crops(2)
    flat = running.client.post(f"{MODEL}/infer", json=request(faces)).json()

    nested = request(faces, data=faces[..., None].astype(float).tolist(), datatype="FP32")

    assert running.client.post(f"{MODEL}/infer", json=nested).json() == flat


def test_no_crops_have_no_answers(running: Running) -> None:
    found = running.client.post(f"{MODEL}/infer", json=request(crops(0))).json()

    assert found["outputs"][0]["shape"] == [0, 7]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": "pictures"}, "inputs are ['pictures']"),
        ({"datatype": "BYTES"}, "datatype is 'BYTES'"),
        ({"shape": [1, 32, 32, 1]}, "shape is [1, 32, 32, 1]"),
        ({"shape": [-1, SIDE, SIDE, 1]}, "shape is [-1"),
        ({"shape": [2, SIDE, SIDE, 1]}, "numbers"),
        ({"data": [1, 2, 3]}, "3 numbers"),
        ({"data": ["a"] * SIDE * SIDE}, "something else than numbers"),
        ({"data": [True] * SIDE * SIDE}, "something else than numbers"),
        ({"data": [256] * SIDE * SIDE}, "outside 0-255"),
        ({"data": [10**400] * SIDE * SIDE}, "something else than numbers"),
        ({"data": [[1, 2], [3]]}, "different lengths"),
        ({"data": [0.5] * SIDE * SIDE}, "fractions"),
        ({"shape": "all"}, "inputs.0.shape"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(running: Running, changes: dict[str, Any], named: str) -> None:
    answer = running.client.post(f"{MODEL}/infer", json=request(crops(1), **changes))

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert named in answer.json()["error"]


def test_an_output_that_the_model_does_not_have_is_refused(running: Running) -> None:
    answer = running.client.post(f"{MODEL}/infer", json={**request(crops(1)), "outputs": [{"name": "logits"}]})

    assert (answer.status_code, "'logits'" in answer.json()["error"]) == (400, True)


def test_a_number_that_json_does_not_have_is_refused(running: Running) -> None:
    body = '{"inputs": [{"name": "faces", "shape": [1, 48, 48, 1], "datatype": "FP32", "data": [NaN]}]}'

    assert running.client.post(f"{MODEL}/infer", content=body).status_code == 400
