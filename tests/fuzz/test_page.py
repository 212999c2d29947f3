"""Strangers at the live page: its HTTP server and its websocket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, WSMsgType

from aam_edge.errors import UsageError
from aam_edge.sinks import page_wire
from aam_edge.sinks.page import PageSink
from tests.fuzz.attack import FEW, attack, replayed, stands, times
from tests.fuzz.mutation import bytes_like, json_like
from tests.page_client import answer, offer, open_sink, watching

DEADLINE_S = 20.0
REQUESTS = [
    {"cmd": "seen"},
    {"cmd": "seen", "others": True},
    {"cmd": "look", "camera": "0", "index": 0, "id": 1},
    {"cmd": "set_prompt", "prompt": "cup", "index": 0, "camera": "0", "id": "a"},
    {"cmd": "pause", "camera": "0"},
]
HTTP = [
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /static/page.js?token=x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
    b"GET /static/../../etc/passwd HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer x\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    b"\x81\x8e\0\0\0\0" + b'{"cmd":"seen"}',
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\n\r\n",
]
requests = json_like(REQUESTS)


def request_door(content: bytes) -> None:
    """Understood, or refused in words that the answer carries."""
    text = content.decode("utf-8", "replace")
    request = None
    try:
        request = page_wire.parse_request(text)
        command = page_wire.check_request(request)
    except ValueError as problem:
        answered = {"ok": False, "error": str(problem)}
        json.loads(page_wire.answer_message(answered, request))
        raise UsageError("message is not understood", problem, "mend it") from problem
    json.loads(page_wire.answer_message({"ok": True, "prompts": list(command)}, request))


@pytest.fixture
def sink(caplog: pytest.LogCaptureFixture) -> Iterator[PageSink]:
    """A page with a picture; in the end no line in the log may hold a trace."""
    with caplog.at_level(logging.DEBUG):
        sink = open_sink()
        offer(sink, 1)
        try:
            yield sink
        finally:
            sink.close()
    traces = [record for record in caplog.records if record.exc_info]
    assert not traces, traces


@times()
def test_no_message_breaks_the_page(cases: int) -> None:
    attack(request_door, requests, cases)


@replayed("page")
def test_messages_that_broke_the_page_once(case: Path) -> None:
    stands(request_door, case.read_bytes())


@times(FEW)
def test_no_message_to_the_real_websocket_goes_without_an_answer(
    cases: int, sink: PageSink
) -> None:
    def door(content: bytes) -> None:
        asyncio.run(asyncio.wait_for(_say(sink, content), DEADLINE_S))

    attack(door, requests.filter(lambda c: len(c) < page_wire.MESSAGE_BYTES), cases)


async def _say(sink: PageSink, content: bytes) -> None:
    """Says it, and then something to which only one answer is right."""
    async with ClientSession() as session, watching(session, sink) as ws:
        await ws.send_str(content.decode("utf-8", "replace"))
        await ws.send_json({"cmd": "look", "camera": "0", "index": 0, "id": "last"})
        while (await answer(ws))["id"] != "last":
            pass


def test_message_that_is_too_long_ends_one_connection_and_no_other(sink: PageSink) -> None:
    async def work() -> None:
        async with ClientSession() as session, watching(session, sink) as other:
            async with watching(session, sink) as ws:
                await ws.send_str("x" * (page_wire.MESSAGE_BYTES + 1))
                while (message := await ws.receive()).type is not WSMsgType.CLOSE:
                    assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
            await other.send_json({"cmd": "look", "camera": "0", "index": 0, "id": 7})
            assert (await answer(other))["ok"]

    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


@times(FEW)
def test_no_bytes_on_the_wire_break_the_page(cases: int, sink: PageSink) -> None:
    place = urlsplit(sink.url)

    def door(content: bytes) -> None:
        asyncio.run(asyncio.wait_for(_send(str(place.hostname), place.port or 0, content), 20))

    attack(door, bytes_like(HTTP), cases)
    asyncio.run(asyncio.wait_for(_say(sink, b"{}"), DEADLINE_S))


async def _send(host: str, port: int, content: bytes) -> None:
    """Sends bytes and hangs up; what comes meanwhile shows nothing of the machine."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(content)
        writer.write_eof()
        answered = await reader.read(1 << 20)
        assert b"root:" not in answered
        assert b"Traceback" not in answered
    except ConnectionError:
        pass
    finally:
        writer.close()


@replayed("http")
def test_bytes_on_the_wire_that_broke_the_page_once(case: Path, sink: PageSink) -> None:
    place = urlsplit(sink.url)
    asyncio.run(_send(str(place.hostname), place.port or 0, case.read_bytes()))
