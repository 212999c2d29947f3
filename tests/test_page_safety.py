from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from aam_edge.commands import Commands
from aam_edge.config import NetConfig, PageConfig
from aam_edge.errors import SinkError, UsageError
from aam_edge.sinks.page import PageSink
from aam_edge.sinks.page_guard import parse_listen
from tests.page_client import answer, offer, open_sink, picture, run, watching

SECRET = "tell-nobody"


@pytest.fixture
def sink() -> Iterator[PageSink]:
    page = open_sink()
    yield page
    page.close()


@pytest.mark.parametrize("path", ["", "ws", "static/page.js"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:{port}", "[", "10.0.0.7"])
def test_name_of_another_machine_is_refused(sink: PageSink, path: str, host: str) -> None:
    async def work(session: ClientSession) -> None:
        headers = {"Host": host.format(port=sink.address.port)}
        async with session.get(sink.url + path, headers=headers) as response:
            assert response.status == 403

    run(work)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "LOCALHOST", "[::1]"])
def test_names_of_this_machine_are_known(sink: PageSink, name: str) -> None:
    async def work(session: ClientSession) -> None:
        # Any port: it may come through a tunnel.
        async with session.get(sink.url, headers={"Host": f"{name}:9000"}) as response:
            assert response.status == 200

    run(work)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "null", "http://["]
)
def test_websocket_of_another_site_is_refused(sink: PageSink, origin: str) -> None:
    async def work(session: ClientSession) -> None:
        with pytest.raises(WSServerHandshakeError) as refused:
            async with watching(session, sink, headers={"Origin": origin}):
                pass
        assert refused.value.status == 403

    run(work)


def test_websocket_of_the_page_itself_is_taken(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        origin = sink.url.rstrip("/")
        async with watching(session, sink, headers={"Origin": origin}) as ws:
            offer(sink, 1)
            await picture(ws)

    run(work)


@pytest.mark.parametrize("path", ["", "ws"])
@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ({}, 401),
        ({"params": {"token": "guess"}}, 401),
        ({"params": {"token": "ünï"}}, 401),
        ({"headers": {"Authorization": "Bearer guess"}}, 401),
        ({"params": {"token": SECRET}}, 200),
        ({"headers": {"Authorization": f"Bearer {SECRET}"}}, 200),
    ],
)
def test_token_is_asked_where_there_is_one(shown: dict[str, Any], status: int, path: str) -> None:
    sink = open_sink(token=SECRET)

    async def work(session: ClientSession) -> None:
        async with session.get(sink.url + path, **shown) as response:
            # A plain GET of the websocket that passes the guard is a bad handshake.
            assert response.status == (400 if path == "ws" and status == 200 else status)
            if status == 401:
                assert "?token=" in await response.text()

    try:
        run(work)
    finally:
        sink.close()


def test_open_address_needs_a_token_or_the_word_that_it_needs_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for token in (None, ""):
        with pytest.raises(SinkError) as refused:
            open_sink("0.0.0.0:0", token=token)
        assert str(refused.value) == (
            "page would be open to the network (0.0.0.0:0): give --set page.token=SECRET, "
            "or --set net.insecure=true to open it to all"
        )
    open_sink("0.0.0.0:0", token=SECRET).close()
    assert "without a token" not in caplog.text
    insecure = NetConfig(insecure=True)
    PageSink(PageConfig(listen="0.0.0.0:0"), insecure, Commands()).close()
    assert "page is open to the network without a token (0.0.0.0:0)" in caplog.text


def test_foreign_name_does_not_open_an_insecure_page() -> None:
    sink = PageSink(PageConfig(listen="0.0.0.0:0"), NetConfig(insecure=True), Commands())
    address = f"http://127.0.0.1:{sink.address.port}/"

    async def work(session: ClientSession) -> None:
        for host, status in (("192.168.1.5:8088", 200), ("evil.example", 403)):
            async with session.get(address, headers={"Host": host}) as response:
                assert response.status == status

    try:
        run(work)
    finally:
        sink.close()


def test_port_in_use_is_one_line(sink: PageSink) -> None:
    with pytest.raises(SinkError) as refused:
        open_sink(str(sink.address))
    assert str(refused.value) == (
        f"port is in use ({sink.address}): choose another with --page HOST:PORT or --page none"
    )


def test_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(SinkError, match=r"page cannot listen there \(.+\): choose another with"):
        open_sink("192.0.2.1:0", token=SECRET)


@pytest.mark.parametrize(
    "listen",
    [
        "",
        "8088",
        "127.0.0.1",
        "127.0.0.1:",
        ":8088",
        "h:port",
        "h:70000",
        "a@b:1",
        "h:1/x",
        "[::1:80",
        "::1:80",
        "h:-1",
    ],
)
def test_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(UsageError, match=r"page address is wrong .*: give HOST:PORT"):
        parse_listen(listen)


def test_ipv6_loopback_works() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    sink = open_sink("[::1]:0")

    async def work(session: ClientSession) -> None:
        async with watching(session, sink, headers={"Origin": sink.url.rstrip("/")}) as ws:
            offer(sink, 1)
            await picture(ws)

    try:
        assert sink.url == f"http://[::1]:{sink.address.port}/"
        run(work)
    finally:
        sink.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "message is not understood"),
        ("{", "message is not understood"),
        ("[" * 4000, "message is not understood"),
        ("[1, 2]", "cmd must be one of"),
        ('{"cmd": "shutdown"}', "cmd must be one of"),
        ('{"cmd": ["reset"]}', "cmd must be one of"),
        ('{"cmd": "set_prompt"}', "prompt must be text"),
        ('{"cmd": "set_prompt", "prompt": "  "}', "prompt is empty"),
        ('{"cmd": "set_prompt", "prompt": 7}', "prompt must be text"),
        (json.dumps({"cmd": "set_prompt", "prompt": "x" * 501}), "prompt is too long"),
        ('{"cmd": "set_prompt", "prompt": "x", "index": -1}', "index must be 0 or more"),
        ('{"cmd": "set_prompt", "prompt": "x", "index": true}', "index must be 0 or more"),
        ('{"cmd": "look", "camera": "9"}', "there is no camera 9"),
        ('{"cmd": "look", "camera": {}}', "camera must be a name"),
    ],
)
def test_malformed_message_gets_an_answer_and_changes_nothing(text: str, why: str) -> None:
    commands = Commands()
    sink = PageSink(PageConfig(listen="127.0.0.1:0"), NetConfig(), commands)

    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            await ws.send_str(text)
            refused = await answer(ws)
            assert refused["ok"] is False
            assert why in refused["error"]
            await ws.send_bytes(b'{"cmd": "reset"}')
            assert (await answer(ws))["ok"] is False
            commands.execute(lambda command: pytest.fail(f"reached the loop: {command}"))

    try:
        run(work)
    finally:
        sink.close()


def test_message_beyond_the_limit_ends_its_connection_alone(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as good, watching(session, sink) as bad:
            await bad.send_str('{"cmd": "set_prompt", "prompt": "' + "x" * 5000 + '"}')
            end = await bad.receive()
            assert (end.type, end.data) == (WSMsgType.CLOSE, 1009)
            offer(sink, 1)
            await picture(good)

    run(work)


def test_commands_reach_the_loop_and_answers_come_back_with_their_id() -> None:
    commands = Commands()
    sink = PageSink(PageConfig(listen="127.0.0.1:0"), NetConfig(), commands)
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.002):
            commands.execute(lambda command: {"ok": True, "did": command})

    thread = threading.Thread(target=loop)
    thread.start()

    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            asked = {"cmd": "set_prompt", "prompt": " cup ", "index": 1}
            await ws.send_json({**asked, "id": 42, "unknown": 1})
            done = await answer(ws)
            assert (done["ok"], done["id"]) == (True, 42)
            assert done["did"] == {"cmd": "set_prompt", "prompt": "cup", "index": 1}
            await ws.send_json({"cmd": "reset", "id": "r"})
            assert (await answer(ws))["id"] == "r"

    try:
        run(work)
    finally:
        stop.set()
        thread.join()
        sink.close()


def test_commands_that_pile_up_are_refused(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:  # nobody executes here
            for number in range(5):
                await ws.send_json({"cmd": "reset", "id": number})
            refused = await answer(ws)
            assert (refused["id"], refused["error"]) == (4, "too many commands are waiting")

    run(work)
    started_s = time.monotonic()
    sink.close()
    assert time.monotonic() - started_s < 1, "commands without an answer must not hold up the end"
