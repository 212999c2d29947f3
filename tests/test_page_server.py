from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError
from browser import DEADLINE_S, HEALTH, Scene, make_attention, make_frame, wait_for
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aam_edge.commands import Commands
from aam_edge.config import NetConfig, PageConfig
from aam_edge.errors import SinkError, UsageError
from aam_edge.messages import Frame
from aam_edge.sinks.page import PageSink
from aam_edge.sinks.page_guard import parse_listen
from aam_edge.sinks.page_viewer import UNSEEN_AT_MOST, Pace

FAST = 10_000.0
"""Pictures a second: as good as no limit."""
SECRET = "tell-nobody"


def open_sink(listen: str = "127.0.0.1:0", **settings: Any) -> PageSink:
    config = PageConfig(**{"listen": listen, "fps": FAST} | settings)
    return PageSink(config, NetConfig(), Commands())


@pytest.fixture
def sink() -> Iterator[PageSink]:
    page = open_sink()
    yield page
    page.close()


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
    body = (await next_of(ws, WSMsgType.BINARY)).data
    length = int.from_bytes(body[:4], "little")
    header: dict[str, Any] = json.loads(body[4 : 4 + length])
    rest = body[4 + length :]
    header["jpeg"], header["cells"] = rest[: header["jpeg_bytes"]], rest[header["jpeg_bytes"] :]
    if is_seen:
        await ws.send_json({"cmd": "seen"})
    return header


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


# ---- what is served --------------------------------------------------------------------------------


def test_page_and_all_its_parts_are_served_under_a_strict_policy(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with session.get(sink.url) as response:
            page = await response.text()
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        parts = re.findall(r'(?:src|href)="(static/[^"]+)"', page)
        assert len(parts) == 2
        for part in (*parts, "static/page_plot.js", "static/page_view.js"):
            async with session.get(sink.url + part) as response:
                assert response.status == 200, part
                assert "Content-Security-Policy" in response.headers
        assert not re.search(r'(?:src|href)="https?:', page), "nothing from other machines"

    run(work)


@pytest.mark.parametrize(
    "path",
    [
        "static/../page.py",
        "static/%2e%2e/page.py",
        "static/..%2fpage.py",
        "static/%2fetc%2fpasswd",
        "static/index.html",
        "static/",
        "page.py",
    ],
)
def test_no_path_leads_out_of_the_static_files(sink: PageSink, path: str) -> None:
    async def work(session: ClientSession) -> None:
        async with session.get(URL(sink.url + path, encoded=True)) as response:
            assert response.status == 404

    run(work)


def test_picture_and_map_arrive_as_they_were(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            frame = offer(sink, 5)
            shown = await picture(ws)
            sent = make_attention(frame, Scene(), "prompt 0")
            image = cv2.imdecode(np.frombuffer(shown["jpeg"], np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert image.shape == frame.image.shape
            assert np.abs(image.astype(int) - frame.image).max() <= 8
            assert (shown["camera"], shown["frame_id"], shown["image"]) == ("0", 5, [320, 240])
            assert shown["prompts"] == [{"index": 0, "prompt": "prompt 0"}]
            assert shown["attention"]["entropy"] == pytest.approx(sent.entropy)
            assert shown["attention"]["targets"][0]["score"] == 0.62
            cells = np.frombuffer(shown["cells"], np.uint8).reshape(shown["map"])
            relative = np.square(cells / 255)
            # Half a step of the root's 255 is at most a step of 1 / 255 of the peak.
            np.testing.assert_allclose(relative, sent.density / sent.density.max(), atol=1 / 255)

    run(work)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1920, 1080), (640, 360)), ((1, 1), (1, 1)), ((4000, 3), (640, 1)), ((300, 900), (213, 640))],
)
def test_picture_is_scaled_down_to_its_longest_side(
    sink: PageSink, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            sink.offer(make_frame(1, Scene(size=size)), [])
            shown = await picture(ws)
            image = cv2.imdecode(np.frombuffer(shown["jpeg"], np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert image.shape[1::-1] == expected
            assert (shown["map"], shown["attention"], shown["cells"]) == (None, None, b"")

    run(work)


def test_health_reaches_the_browser_without_the_numbers_that_json_lacks(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            sink.offer_health(replace(HEALTH, rate_hz=float("nan")))
            health = json.loads((await next_of(ws, WSMsgType.TEXT)).data)
            assert (health["type"], health["rate_hz"]) == ("health", None)
            assert health["latency_ms"] == {"p50": 9.25, "p99": 17.5}

    run(work)


# ---- who is served ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "http://["])
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
    async def work(session: ClientSession) -> None:
        async with session.get(sink.url + path, **shown) as response:
            # A plain GET of the websocket that passes the guard is a bad handshake.
            assert response.status == (400 if path == "ws" and status == 200 else status)
            if status == 401:
                assert "?token=" in await response.text()

    sink = open_sink(token=SECRET)
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


@pytest.mark.parametrize("listen", ["no.such.name.invalid:0", "192.0.2.1:0"])
def test_address_of_another_machine_is_one_line(listen: str) -> None:
    with pytest.raises(SinkError, match=r"page cannot listen there \(.+\): choose another with"):
        open_sink(listen, token=SECRET)


@pytest.mark.parametrize(
    "listen",
    ["", "8088", "127.0.0.1", "127.0.0.1:", ":8088", "host:port", "host:70000", "a@b:1", "h:1/x"]
    + ["[::1:8088", "h:-1", "a b:1"],
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


# ---- what browsers say -----------------------------------------------------------------------------


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
        ('{"cmd": "set_prompt", "prompt": "  "}', "prompt must be text"),
        ('{"cmd": "set_prompt", "prompt": 7}', "prompt must be text"),
        (json.dumps({"cmd": "set_prompt", "prompt": "x" * 501}), "prompt must be text"),
        ('{"cmd": "set_prompt", "prompt": "x", "index": -1}', "index must be 0 or more"),
        ('{"cmd": "set_prompt", "prompt": "x", "index": true}', "index must be 0 or more"),
        ('{"cmd": "look", "camera": "9"}', "there is no camera 9"),
        ('{"cmd": "look", "camera": {}}', "there is no camera"),
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
    commands, heard = Commands(), threading.Event()
    sink = PageSink(PageConfig(listen="127.0.0.1:0"), NetConfig(), commands)
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(0.002):
            commands.execute(lambda command: heard.set() or {"ok": True, "did": command})

    thread = threading.Thread(target=loop)
    thread.start()

    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            await ws.send_json({"cmd": "set_prompt", "prompt": " cup ", "index": 1, "id": 42, "x": 1})
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
    assert heard.is_set()


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


# ---- pictures and their pace -----------------------------------------------------------------------


def test_nothing_is_encoded_while_nobody_looks(sink: PageSink) -> None:
    for frame_id in range(50):
        offer(sink, frame_id)

    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            shown = await picture(ws)
            assert shown["frame_id"] == 49, "newest wins"
        assert sink.encoded == 1

    run(work)
    wait_for("browser left", lambda: sink.browsers == 0)
    for frame_id in range(50):
        offer(sink, frame_id)
    assert (sink.encoded, sink.dropped) == (1, 0)


def test_picture_is_encoded_once_for_all_browsers(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as one, watching(session, sink) as other:
            for frame_id in range(5):
                offer(sink, frame_id)
                for ws in (one, other):
                    assert (await picture(ws))["frame_id"] == frame_id
            assert sink.encoded == 5

    run(work)


def test_browser_that_does_not_keep_up_loses_pictures_and_slows_nobody(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as slow, watching(session, sink) as quick:
            for frame_id in range(60):
                started_s = time.monotonic()
                offer(sink, frame_id)
                assert time.monotonic() - started_s < 0.5, "offer waits for nobody"
                assert (await picture(quick))["frame_id"] == frame_id
            first = [(await picture(slow, is_seen=False))["frame_id"] for _ in range(2)]
            assert first == [0, 1], "two on the way, not sixty"
            assert sink.dropped == 58
            await slow.send_json({"cmd": "seen"})
            assert (await picture(slow))["frame_id"] == 59, "then the newest"
        assert sink.dropped == 58

    run(work)


def test_browser_chooses_camera_and_prompt(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        for camera in ("left", "right"):
            offer(sink, 1, camera, prompts=2)
        async with watching(session, sink) as ws:
            shown = await picture(ws)
            assert (shown["camera"], shown["cameras"]) == ("left", ["left", "right"])
            await ws.send_json({"cmd": "look", "camera": "right", "index": 1})
            shown = await picture(ws)
            assert (shown["camera"], shown["attention"]["prompt"]) == ("right", "prompt 1")
            assert (await answer(ws))["ok"] is True
            await ws.send_json({"cmd": "look", "camera": "right", "index": 8})
            shown = await picture(ws)
            assert shown["attention"]["prompt"] == "prompt 0", "there is no prompt 8"

    run(work)


def test_close_hangs_up_within_a_second_and_may_be_called_twice(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        # autoclose off: this browser never answers the goodbye.
        ws = await session.ws_connect(f"{sink.url}ws", autoclose=False)
        offer(sink, 1)
        await picture(ws)
        started_s = time.monotonic()
        await asyncio.to_thread(sink.close)
        assert time.monotonic() - started_s < 1
        end = await ws.receive()
        assert end.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)

    run(work)
    assert not [t for t in threading.enumerate() if t.name == "aam-page"]
    sink.close()
    offer(sink, 2)
    sink.offer_health(HEALTH)
    assert sink.state() == "ok"


def test_browsers_beyond_the_limit_are_sent_away(sink: PageSink, caplog: Any) -> None:
    caplog.set_level(logging.INFO)

    async def work(session: ClientSession) -> None:
        crowd = [await session.ws_connect(f"{sink.url}ws") for _ in range(16)]
        with pytest.raises(WSServerHandshakeError) as refused:
            await session.ws_connect(f"{sink.url}ws")
        assert refused.value.status == 503
        for ws in crowd:
            await ws.close()

    run(work)
    assert caplog.text.count("a browser looks") == 16


@given(
    fps=st.floats(1, 60),
    steps_s=st.lists(st.floats(0, 0.2), min_size=1, max_size=200),
    seen=st.lists(st.booleans(), min_size=200, max_size=200),
)
def test_pace_never_sends_faster_than_asked_nor_more_than_is_seen(
    fps: float, steps_s: list[float], seen: list[bool]
) -> None:
    pace, now_s, unseen, sent_s = Pace(fps), 0.0, 0, list[float]()
    for step_s, is_seen in zip(steps_s, seen, strict=False):
        now_s += step_s
        if is_seen and unseen:
            pace.seen()
            unseen -= 1
        pace.offer(now_s)
        if pace.delay_s(now_s) == 0:
            pace.begin(now_s)
            pace.end()
            unseen += 1
            sent_s.append(now_s)
        assert unseen <= UNSEEN_AT_MOST
    # One more than the rate: a picture that was late does not make the next one late.
    for first in sent_s:
        assert sum(first <= at_s < first + 1 for at_s in sent_s) <= fps + 2


def test_quick_browser_gets_its_whole_rate_and_drops_nothing() -> None:
    pace, sent = Pace(15.0), 0
    for step in range(1100):  # 10 s of a camera with 110 pictures a second
        now_s = step / 110
        pace.offer(now_s)
        if pace.delay_s(now_s) == 0:
            pace.begin(now_s)
            pace.end()
            pace.seen()
            sent += 1
    assert 148 <= sent <= 152
    assert pace.dropped == 0
