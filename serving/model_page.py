"""Endpoint /v1/model: what the page shows of the model that answers."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from serving.problems import PROBLEMS
from serving.service import service_of

router = APIRouter(tags=["model"])


class Decision(BaseModel):
    """Whether the gate promoted the model, and why."""

    promoted: bool
    reasons: list[str]


class Previous(BaseModel):
    """The champion before, and its figures."""

    version: str
    metrics: dict[str, float]


class AllowedSizes(BaseModel):
    """The largest picture that is answered, and how many faces of it."""

    max_pixels: int
    max_file_bytes: int
    max_faces: int


class ModelPage(BaseModel):
    """The model that answers; what is not known is null."""

    name: str
    version: str
    sha256: str
    source: str
    since: str | None
    classes: list[str]
    metrics: dict[str, float]
    decision: Decision | None
    previous: Previous | None
    card: str | None
    mlflow: str | None
    limits: AllowedSizes
    threshold: float


@router.get(
    "/v1/model", response_model=ModelPage, responses={code: PROBLEMS[code] for code in (401, 403)}, summary="The model"
)
async def model_page(request: Request) -> JSONResponse:
    """Describe the model that answers, the decision about it and the champion before it."""
    service = service_of(request)
    model, serving = service.model, service.settings.serving
    facts = model.facts
    return JSONResponse({
        **model.identity,
        "since": facts.since,
        "classes": list(model.class_names),
        "metrics": dict(facts.metrics),
        "decision": _plain(facts.decision),
        "previous": _plain(facts.previous),
        "card": facts.card,
        "mlflow": facts.mlflow,
        "limits": {
            "max_pixels": serving.max_pixels,
            "max_file_bytes": serving.max_body_bytes,
            "max_faces": serving.max_faces,
        },
        "threshold": service.settings.inference.confidence_threshold,
    })  # fmt: skip


def _plain(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if facts is None else dict(facts)
