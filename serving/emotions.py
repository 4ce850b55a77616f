"""Endpoints /v1/emotions and /v1/emotions:batch: pictures in, faces with probabilities out."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from serving.examples import ANSWER, BATCH_ANSWER, BATCH_BODY, PICTURE_BODY
from serving.problems import PROBLEMS, Problem, ProblemError
from serving.served_model import ServedModel
from serving.service import Answered, Service, service_of
from serving.uploads import read_picture, read_pictures

router = APIRouter(tags=["emotions"])
DIGITS = 6  # of numbers in answers


class Box(BaseModel):
    """A square in the pixels of the upright picture."""

    x: int
    y: int
    width: int
    height: int


class Face(BaseModel):
    """A face: where it is, how sure the detector is of it, and how likely each emotion."""

    box: Box
    score: float
    emotion: str
    confidence: float
    uncertain: bool
    probabilities: dict[str, float]


class Model(BaseModel):
    """The model that answered; `source` is registry, released or bundle, `sha256` that of its file."""

    name: str
    version: str
    sha256: str
    source: str


class Picture(BaseModel):
    """The size of the upright picture, its faces from left to right, and how many were too small to answer.

    `first_of_several` says that the file is animated or has pages, of which only the first is answered.
    """

    width: int
    height: int
    faces: list[Face]
    too_small: int
    first_of_several: bool


class Emotions(Picture):
    """The answer for one picture."""

    model: Model


class Unread(BaseModel):
    """A picture of a batch that cannot be answered."""

    problem: Problem


class Batch(BaseModel):
    """The answers for many pictures, in their order."""

    model: Model
    pictures: list[Picture | Unread]


@router.post(
    "/v1/emotions",
    response_model=Emotions,
    responses={200: {"content": {"application/json": {"example": ANSWER}}}, **PROBLEMS},
    openapi_extra={"requestBody": PICTURE_BODY},
    summary="The faces of a picture and their emotions",
)
async def emotions(request: Request) -> JSONResponse:
    """Answer a picture: raw with any content type, as multipart field `image`, or as base64 in JSON."""
    service = service_of(request)
    async with service.limits.admitted(request) as body:
        content = await read_picture(request.headers, body)
        model = service.model
        answered = await service.limits.in_time(request, service.answer_picture(content, model))
        return JSONResponse({"model": model.identity, **_described(answered, model, service)})


@router.post(
    "/v1/emotions:batch",
    response_model=Batch,
    responses={200: {"content": {"application/json": {"example": BATCH_ANSWER}}}, **PROBLEMS},
    openapi_extra={"requestBody": BATCH_BODY},
    summary="The faces of many pictures and their emotions",
)
async def emotions_of_many(request: Request) -> JSONResponse:
    """Answer many pictures by one model; one that cannot be read has a problem in its place."""
    service = service_of(request)
    async with service.limits.admitted(request) as body:
        contents = await read_pictures(request.headers, body, service.settings.serving.max_pictures)
        model = service.model
        answers = await service.limits.in_time(request, _answer_all(contents, model, service))
        return JSONResponse({"model": model.identity, "pictures": answers})


async def _answer_all(contents: Sequence[bytes], model: ServedModel, service: Service) -> list[dict[str, Any]]:
    async def one(content: bytes) -> dict[str, Any]:
        try:
            return _described(await service.answer_picture(content, model), model, service)
        except ProblemError as error:
            return {"problem": error.document()}

    return await asyncio.gather(*(one(content) for content in contents))


def _described(answered: Answered, model: ServedModel, service: Service) -> dict[str, Any]:
    """Return what an answer says of a picture."""
    threshold, searched = service.settings.inference.confidence_threshold, answered.searched
    faces = []
    found = searched.faces
    for box, score, row in zip(found.boxes.tolist(), found.scores, answered.probabilities, strict=True):
        confidence = float(row.max())
        probabilities = [round(value, DIGITS) for value in row.tolist()]
        faces.append(
            {
                "box": dict(zip(("x", "y", "width", "height"), box, strict=True)),
                "score": round(score, DIGITS),
                "emotion": model.class_names[int(row.argmax())],
                "confidence": round(confidence, DIGITS),
                "uncertain": confidence < threshold,
                "probabilities": dict(zip(model.class_names, probabilities, strict=True)),
            }
        )
    return {
        "width": searched.width,
        "height": searched.height,
        "faces": faces,
        "too_small": found.too_small,
        "first_of_several": searched.first_of_several,
    }
