"""The server: an address to listen on, connections that are bounded in number and time, and an end that drains."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from configs.errors import UserError
from configs.serving_settings import ServingSettings

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 30


def open_socket(settings: ServingSettings) -> socket.socket:
    """Return a socket on the settings' address. Raises UserError, which names the port and the setting."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"serving.host {host} is not an address of this machine: {error.strerror}") from error
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"port {port} of {host} cannot be used ({error.strerror}); choose another with --serving.port, or end what "
            "listens there"
        ) from error
    return listening


def run_server(app: FastAPI, listening: socket.socket, settings: ServingSettings, started: Callable[[], None]) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is under way; `started` is called once it answers."""
    config = uvicorn.Config(
        app,
        http=_bounded(settings),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(2 * settings.timeout_seconds) + 1,
    )
    _Server(config, app, started).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says when it answers and when it ends."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, started: Callable[[], None]) -> None:
        super().__init__(config)
        self.app, self.when_started = app, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.when_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.app.state.service.draining = True
        await super().shutdown(sockets)


def _bounded(settings: ServingSettings) -> type[H11Protocol]:
    """Return uvicorn's protocol with a bound on connections, and on the time that a request's head may take."""

    class BoundedProtocol(H11Protocol):
        head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            if len(self.connections) > settings.max_connections:
                transport.abort()  # type: ignore[attr-defined]
            else:
                self._wait_for_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._head_came()
            elif self.head_timer is None:
                self._wait_for_head()  # of the next request on this connection

        def _wait_for_head(self) -> None:
            self.head_timer = self.loop.call_later(settings.timeout_seconds, self.transport.abort)

        def _head_came(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None

    return BoundedProtocol
