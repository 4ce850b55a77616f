"""Uploads: the pictures in a request's body, raw, multipart or base64 in JSON; never a path or an address to open."""

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from serving.problems import ProblemError

MULTIPART, JSON = "multipart/form-data", "application/json"
FIELD = "image"
MORE_FIELDS = 10  # that a form may have beside its pictures


async def read_picture(headers: Headers, body: bytes) -> bytes:
    """Return the one picture of a request. Raises ProblemError."""
    kind = _kind(headers)
    if kind == MULTIPART:
        (picture,) = await _from_form(headers, body, 1)
        return picture
    if kind == JSON:
        return _from_base64(_member(body, FIELD), FIELD)
    if not body:
        raise ProblemError(400, "the body is empty; send a picture")
    return body


async def read_pictures(headers: Headers, body: bytes, most: int) -> list[bytes]:
    """Return the pictures of a request to a batch endpoint, at least one. Raises ProblemError."""
    kind = _kind(headers)
    if kind == MULTIPART:
        return await _from_form(headers, body, most)
    if kind != JSON:
        raise ProblemError(415, f"many pictures come as {MULTIPART} with fields {FIELD}, or as {JSON} with images")
    texts = _member(body, "images")
    if not isinstance(texts, list) or not texts:
        raise ProblemError(422, "images is not a list of base64 texts with at least one entry")
    _check_count(len(texts), most)
    return [_from_base64(text, f"images.{number}") for number, text in enumerate(texts)]


def _kind(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _member(body: bytes, name: str) -> Any:
    try:
        given = from_json(body)
    except ValueError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error
    if not isinstance(given, dict) or name not in given:
        raise ProblemError(422, f'the JSON body is not an object with the member "{name}"')
    return given[name]


def _from_base64(text: Any, place: str) -> bytes:
    if not isinstance(text, str):
        raise ProblemError(422, f"{place} is not a text in base64")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: letters beyond ASCII
        raise ProblemError(422, f"{place} is not base64 (without a prefix such as data:): {error}") from error
    if not content:
        raise ProblemError(422, f"{place} is empty")
    return content


class _InMemory(MultiPartParser):
    """Writes no picture to the disk; the body's size is bounded already."""

    spool_max_size = 0  # of SpooledTemporaryFile: never


async def _from_form(headers: Headers, body: bytes, most: int) -> list[bytes]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    allowed = most + MORE_FIELDS
    try:
        parser = _InMemory(headers, once(), max_files=allowed, max_fields=allowed)
        form = await parser.parse()
    except MultiPartException as error:
        raise ProblemError(400, f"the body is not a form: {error.message}") from error
    pictures = [await part.read() for part in form.getlist(FIELD) if isinstance(part, UploadFile)]
    await form.close()
    if not pictures:
        raise ProblemError(422, f"the form has no file in a field of the name {FIELD}")
    _check_count(len(pictures), most)
    return pictures


def _check_count(count: int, most: int) -> None:
    if count > most:
        more = " (serving.max_pictures); send them in several requests" if most > 1 else "; use /v1/emotions:batch"
        raise ProblemError(413, f"the request has {count} pictures, allowed is {most}{more}")
