from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aam_edge.sinks.page import PageSink
from aam_edge.sinks.page_viewer import UNSEEN_AT_MOST, Pace
from tests.browser import HEALTH, Scene, make_attention, make_frame, wait_for
from tests.page_client import answer, next_of, offer, open_sink, others, picture, run, watching


@pytest.fixture
def sink() -> Iterator[PageSink]:
    page = open_sink()
    yield page
    page.close()


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
            # Which two depends on how fast this machine is; that there are no more does not.
            assert first[0] < first[1] < 59, "two on the way, not sixty"
            lost = sink.dropped
            assert 56 <= lost <= 59
            await slow.send_json({"cmd": "seen"})
            assert (await picture(slow))["frame_id"] == 59, "then the newest"
        assert sink.dropped == lost

    run(work)


def test_browser_chooses_camera_and_prompt(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        for camera in ("left", "right"):
            offer(sink, 1, camera, prompts=2)
        async with watching(session, sink) as ws:
            shown = await picture(ws)
            assert (shown["camera"], shown["cameras"]) == ("left", ["left", "right"])
            await ws.send_json({"cmd": "look", "camera": "right", "index": 1})
            assert (await answer(ws))["ok"] is True
            shown = await picture(ws)
            assert (shown["camera"], shown["attention"]["prompt"]) == ("right", "prompt 1")
            await ws.send_json({"cmd": "look", "camera": "right", "index": 8})
            shown = await picture(ws)
            assert shown["attention"]["prompt"] == "prompt 0", "there is no prompt 8"

    run(work)


def test_other_cameras_are_shown_small_with_their_maps(sink: PageSink) -> None:
    async def work(session: ClientSession) -> None:
        async with watching(session, sink) as ws:
            for camera in ("left", "right", "back"):
                offer(sink, 1, camera)
            assert (await picture(ws))["camera"] == "left"
            while set(shown := await others(ws)) != {"right", "back"}:
                offer(sink, 2, "right")
                offer(sink, 2, "back")
            small = cv2.imdecode(np.frombuffer(shown["back"], np.uint8), cv2.IMREAD_COLOR)
            assert small is not None
            assert small.shape == (150, 200, 3)
            # Where attention is the picture is drawn over.
            assert np.abs(small[45, 50].astype(int) - small[140, 190]).max() > 40
            await ws.send_json({"cmd": "look", "camera": "right", "index": 0})
            assert (await answer(ws))["ok"]
            offer(sink, 3, "left")
            while set(await others(ws)) != {"left", "back"}:
                offer(sink, 4, "left")

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
