"""Endpoint /metrics: the service's figures for Prometheus."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from serving.service import service_of

router = APIRouter(tags=["operations"])


@router.get("/metrics", response_class=Response, summary="The service's figures")
async def figures(request: Request) -> Response:
    """Return requests, faces, times, queue, batches, model and swaps in Prometheus' text format."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
