"""A browser without a window, for the tests of the page's server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from aam_edge.commands import Commands
from aam_edge.config import NetConfig, PageConfig
from aam_edge.messages import Frame
from aam_edge.sinks.page import PageSink
from tests.browser import DEADLINE_S, Scene, make_attention, make_frame

FAST = 10_000.0
"""Pictures a second: as good as no limit."""


def open_sink(listen: str = "127.0.0.1:0", token: str | None = None) -> PageSink:
    return PageSink(PageConfig(listen=listen, fps=FAST, token=token), NetConfig(), Commands())


def offer(sink: PageSink, frame_id: int, camera: str = "0", prompts: int = 1) -> Frame:
    frame = make_frame(frame_id, camera=camera)
    maps = [make_attention(frame, Scene(), f"prompt {i}", i) for i in range(prompts)]
    sink.offer(frame, maps)
    return frame


def run(work: Callable[[ClientSession], Awaitable[None]]) -> None:
    async def with_session() -> None:
        async with ClientSession() as session:
            await asyncio.wait_for(work(session), DEADLINE_S)

    asyncio.run(with_session())


@asynccontextmanager
async def watching(
    session: ClientSession, sink: PageSink, **options: Any
) -> AsyncIterator[ClientWebSocketResponse]:
    async with session.ws_connect(f"{sink.url}ws", **options) as ws:
        yield ws


async def picture(ws: ClientWebSocketResponse, *, is_seen: bool = True) -> dict[str, Any]:
    """The next picture: its header, with `jpeg` and `cells`."""
    while True:
        header, rest = await binary(ws)
        if "others" not in header:
            break
    header["jpeg"], header["cells"] = rest[: header["jpeg_bytes"]], rest[header["jpeg_bytes"] :]
    if is_seen:
        await ws.send_json({"cmd": "seen"})
    return header


async def others(ws: ClientWebSocketResponse) -> dict[str, bytes]:
    """The next small pictures of the other cameras: JPEG by camera."""
    while True:
        header, rest = await binary(ws)
        if "others" in header:
            break
    await ws.send_json({"cmd": "seen", "others": True})
    pictures = {}
    for other in header["others"]:
        pictures[other["camera"]], rest = rest[: other["jpeg_bytes"]], rest[other["jpeg_bytes"] :]
    assert not rest
    return pictures


async def binary(ws: ClientWebSocketResponse) -> tuple[dict[str, Any], bytes]:
    """Header and rest of the next binary message."""
    body = (await next_of(ws, WSMsgType.BINARY)).data
    length = int.from_bytes(body[:4], "little")
    return json.loads(body[4 : 4 + length]), body[4 + length :]


async def answer(ws: ClientWebSocketResponse) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads((await next_of(ws, WSMsgType.TEXT)).data)
        if message["type"] == "answer":
            return message


async def next_of(ws: ClientWebSocketResponse, kind: WSMsgType) -> Any:
    while True:
        message = await ws.receive()
        assert message.type in (WSMsgType.BINARY, WSMsgType.TEXT), f"connection ended: {message}"
        if message.type is kind:
            return message
