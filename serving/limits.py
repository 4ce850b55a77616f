"""Limits: how many requests, bytes and seconds the service takes; what is beyond them is told so at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from configs.serving_settings import ServingSettings
from serving.metrics import Metrics
from serving.problems import GONE, ProblemError

Answer = TypeVar("Answer")
COME_BACK = 1  # seconds


class Limits:
    """Counts what is under way in one event loop."""

    def __init__(self, settings: ServingSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.requests = self.bytes = 0

    @asynccontextmanager
    async def admitted(self, request: Request) -> AsyncIterator[bytes]:
        """Give the body of a request that there is room for, and count the request as under way for the block.

        Raises ProblemError for a body that is too large (413) or too slow (408), and while the service is full (503).
        """
        if self.requests >= self.settings.max_requests:
            raise self._full(f"{self.requests} requests are under way, as many as serving.max_requests allows")
        self.requests += 1
        self.metrics.under_way.set(self.requests)
        body = bytearray()
        try:
            await self._read(request, body)
            yield bytes(body)
        finally:
            self.requests -= 1
            self.bytes -= len(body)
            self.metrics.under_way.set(self.requests)

    async def in_time(self, request: Request, work: Awaitable[Answer]) -> Answer:
        """Return what the work does, and cancel it when its time is up (504) or its client has gone."""
        seconds = self.settings.timeout_seconds
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(request))
        try:
            done, _ = await asyncio.wait({working, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if working in done:
                return working.result()
            self.metrics.dropped.inc()
            if done:
                raise ProblemError(GONE, "the client has gone")
            raise ProblemError(504, f"no answer within {seconds:g} s (serving.timeout_seconds)", COME_BACK)
        finally:
            working.cancel()
            leaving.cancel()

    async def _read(self, request: Request, body: bytearray) -> None:
        most = self.settings.max_body_bytes
        too_large = ProblemError(413, f"the body has more than {most} bytes (serving.max_body_bytes)")
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > most:
            raise too_large
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                async for block in request.stream():
                    body += block
                    self.bytes += len(block)
                    if len(body) > most:
                        raise too_large
                    if self.bytes > self.settings.max_waiting_bytes:
                        raise self._full("the bodies under way have more bytes than serving.max_waiting_bytes allows")
        except TimeoutError as error:
            detail = f"the body did not arrive within {self.settings.timeout_seconds:g} s (serving.timeout_seconds)"
            raise ProblemError(408, detail) from error
        except ClientDisconnect as error:
            raise ProblemError(GONE, "the client has gone") from error

    def _full(self, reason: str) -> ProblemError:
        return ProblemError(503, f"{reason}; come back in {COME_BACK} s", COME_BACK)


async def _disconnect(request: Request) -> None:
    """Return once the client of a request whose body was read has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
