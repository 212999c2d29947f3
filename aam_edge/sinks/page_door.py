"""The live page's door: how many connections, and how long each may take to say what it wants.

A connection asks once: it must have sent the head of its request within HEAD_S, gets its answer and
is closed, unless it became a websocket. So whoever opens connections and says nothing, or a letter
a second, holds none for long. Sizes of line and headers (8 KB each) are limited by aiohttp itself,
a message of a websocket by `page_wire.MESSAGE_BYTES`; bodies are never read.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

logger = logging.getLogger(__name__)

CONNECTIONS_AT_MOST = 64
HEAD_S = 5.0
LINGER_S = 1.0
"""Given to a client that still sends a body which nobody reads."""


class PageDoor:
    """Takes connections of an application. All of it belongs to the page's thread."""

    def __init__(self, app: web.Application, *, leave_s: float) -> None:
        app.middlewares.insert(0, self._note)
        app.on_response_prepare.append(_answer_once)
        http_log = logger.getChild("http")
        http_log.addFilter(_is_ours)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=leave_s,
            lingering_time=LINGER_S,
            logger=http_log,
        )
        self._silent: set[object] = set()
        """Connections whose request has not come yet."""
        self._server: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        """Begins to take connections."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, sock=listening)

    async def close(self) -> None:
        """Hangs up on all."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None, "the door is open"
        # Many are accepted at once, and stand among the server's only some turns later.
        if len(self._silent.union(server.connections)) >= CONNECTIONS_AT_MOST:
            return _Full()
        connection = server()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(HEAD_S, self._end_silent, connection)
        return connection

    def _end_silent(self, connection: web.RequestHandler) -> None:
        if connection in self._silent:
            self._silent.discard(connection)
            connection.force_close()

    @web.middleware
    async def _note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        return await handler(request)


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


async def _answer_once(request: web.Request, response: web.StreamResponse) -> None:
    if not isinstance(response, web.WebSocketResponse):
        response.force_close()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an error is a defect of ours, and not what a stranger has sent."""
    problem: Any = record.exc_info[1] if record.exc_info else None
    return not isinstance(problem, HttpProcessingError)
