"""Problems: what a request cannot have, as a problem document (RFC 9457) of one sentence."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
PROTOCOL = "/v2"  # whose specification wants the sentence under `error`
GONE = 499  # of a client that no longer listens; nobody reads it, the metrics count it


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


# what /openapi.json says of the answers that endpoints have in common
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}}
    for status, meaning in {
        400: "The body is not what its type says",
        401: "The token is missing or wrong",
        403: "The Host or the Origin is not allowed",
        404: "No such model or version",
        408: "The body did not arrive in time",
        413: "Too many bytes, pixels or pictures",
        415: "Not a picture",
        422: "A picture that cannot be decoded, or a body without one",
        503: "Too many requests, or the service ends; the answer says when to come back",
        504: "No answer in time",
    }.items()
}


class ProblemError(Exception):
    """A request that is not answered; `detail` is one sentence for whoever sent it."""

    def __init__(self, status: int, detail: str, retry_seconds: int = 0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_seconds = status, detail, retry_seconds

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        title = HTTPStatus(self.status).phrase if self.status != GONE else "Client Closed Request"
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}

    def response(self, path: str) -> Response:
        """Return the answer to a request for a path."""
        document = self.document()
        if path == PROTOCOL or path.startswith(f"{PROTOCOL}/"):
            document["error"] = self.detail
        headers = {"Retry-After": str(self.retry_seconds)} if self.retry_seconds else {}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(document, self.status, headers, MEDIA_TYPE)


def unexpected(method: str, path: str, error: Exception) -> ProblemError:
    """Log an error that nothing expected, and return what its request is told."""
    logger.error("%s %s ended in an unexpected error", method, path, exc_info=error)
    return ProblemError(500, "an unexpected error; the service's log says which")


def answer_problems(app: FastAPI) -> None:
    """Have the errors that the app expects answered with a problem document; the door answers the others."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return error.response(request.url.path)

    async def of_starlette(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = f"{request.method} {request.url.path[:200]}: {error.detail}"
        answer = ProblemError(error.status_code, detail).response(request.url.path)
        answer.headers.update(error.headers or {})
        return answer

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return ProblemError(422, f"{place}: {first['msg']}").response(request.url.path)

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(HTTPException, of_starlette)
    app.add_exception_handler(RequestValidationError, invalid)
