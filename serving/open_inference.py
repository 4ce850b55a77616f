"""Endpoints /v2: the Open Inference Protocol, REST, for crops that are faces already."""

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from serving.examples import INFER_BODY
from serving.problems import PROBLEMS, ProblemError
from serving.served_model import ServedModel
from serving.service import Service, service_of

Array = np.ndarray[Any, Any]
router = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
SERVER, VERSION = "face-emotion-pipeline", "1"
FACES, PROBABILITIES = "faces", "probabilities"
DATATYPES = {"UINT8": np.uint8, "FP32": np.float32}
MODEL_PATHS = ("/models/{name}", "/models/{name}/versions/{version}")
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: PROBLEMS[404]}


class Tensor(BaseModel):
    """An input: faces as whole numbers or fractions of 0-255, in the order of `shape`."""

    model_config = ConfigDict(strict=True)

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any]


class WantedOutput(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """A request of the protocol."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[Tensor]
    outputs: list[WantedOutput] | None = None


@router.get("", summary="The server")
async def server() -> dict[str, Any]:
    """Describe the server."""
    return {"name": SERVER, "version": VERSION, "extensions": []}


@router.get("/health/live", summary="Whether the server runs")
async def live() -> dict[str, bool]:
    """Say that the server runs."""
    return {"live": True}


@router.get("/health/ready", summary="Whether the server answers", responses={503: PROBLEMS[503]})
async def ready(request: Request) -> dict[str, bool]:
    """Say that the server answers; 503 while it drains. The specification calls the member `live` here too."""
    if service_of(request).draining:
        raise ProblemError(503, "the service ends and takes no more requests", 1)
    return {"live": True, "ready": True}


async def model(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Describe the model that answers, its input and its output."""
    found = _find(service_of(request), name, version)
    side, classes = found.predictor.side, len(found.class_names)
    return {
        "name": found.name,
        "versions": [found.version],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": FACES, "datatype": "FP32", "shape": [-1, side, side, 1]}],
        "outputs": [{"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]}],
    }


async def model_ready(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Say that the model answers."""
    return {"name": _find(service_of(request), name, version).name, "ready": True}


async def infer(request: Request, name: str, version: str | None = None) -> JSONResponse:
    """Return the probabilities of faces, in the order of the model's classes (/v1/model names them)."""
    service = service_of(request)
    async with service.limits.admitted(request) as body:
        found = _find(service, name, version)
        try:
            asked = InferRequest.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ProblemError(400, f"{place or 'the body'}: {first['msg']}") from error
        faces = _read_faces(asked, found.predictor.side)
        answers = await service.limits.in_time(request, service.predict(faces, found))
        if service.log is not None:
            service.log.add_crops(faces, answers, found)
        output = {
            "name": PROBABILITIES,
            "shape": list(answers.shape),
            "datatype": "FP32",
            "data": answers.ravel().tolist(),
        }
        said = {"model_name": found.name, "model_version": found.version, "outputs": [output]}
        return JSONResponse(said if asked.id is None else {**said, "id": asked.id})


for path in MODEL_PATHS:
    router.add_api_route(path, model, summary="A model", responses=NOT_FOUND)
    router.add_api_route(f"{path}/ready", model_ready, summary="Whether a model answers", responses=NOT_FOUND)
    router.add_api_route(
        f"{path}/infer",
        infer,
        methods=["POST"],
        summary="The probabilities of faces",
        responses={**NOT_FOUND, **{code: PROBLEMS[code] for code in (400, 401, 403, 408, 413, 503, 504)}},
        openapi_extra={"requestBody": INFER_BODY},
    )


def _find(service: Service, name: str, version: str | None) -> ServedModel:
    """Return the model that answers. Raises ProblemError where the path names another model or version."""
    found = service.model
    if name != found.name or version not in (None, found.version):
        asked = f"{name} version {version}" if version else name
        raise ProblemError(404, f"{asked[:200]} is not served; {found.name} version {found.version} is")
    return found


def _read_faces(asked: InferRequest, side: int) -> Array:
    """Return the (n, side, side) faces of a request's one input. Raises ProblemError."""
    names = [tensor.name for tensor in asked.inputs]
    if names != [FACES]:
        raise ProblemError(400, f"inputs are {names[:5]}, expected one of the name {FACES}")
    if unknown := [output.name for output in asked.outputs or [] if output.name != PROBABILITIES]:
        raise ProblemError(400, f"outputs has {unknown[0][:100]!r}; the only output is {PROBABILITIES}")
    (tensor,) = asked.inputs
    if tensor.datatype not in DATATYPES:
        raise ProblemError(400, f"inputs.0.datatype is {tensor.datatype[:20]!r}, allowed are {', '.join(DATATYPES)}")
    if len(tensor.shape) != 4 or tensor.shape[1:] != [side, side, 1] or tensor.shape[0] < 0:
        raise ProblemError(400, f"inputs.0.shape is {tensor.shape[:8]}, expected [n, {side}, {side}, 1]")
    try:
        levels = np.asarray(tensor.data)
    except ValueError as error:
        raise ProblemError(400, "inputs.0.data has lists of different lengths") from error
    if levels.size and levels.dtype.kind not in "iuf":
        raise ProblemError(400, "inputs.0.data holds something else than numbers")
    count = tensor.shape[0]
    if levels.size != count * side * side:
        expected = count * side * side
        raise ProblemError(400, f"inputs.0.data has {levels.size} numbers, shape {tensor.shape} has {expected}")
    if levels.size and not (levels.min() >= 0 and levels.max() <= 255):  # also where one is not a number
        raise ProblemError(400, "inputs.0.data holds a grey level outside 0-255")
    if tensor.datatype == "UINT8" and levels.dtype.kind == "f" and (levels % 1).any():
        raise ProblemError(400, "inputs.0.data holds fractions, but its datatype is UINT8")
    return levels.astype(DATATYPES[tensor.datatype]).reshape(count, side, side)
