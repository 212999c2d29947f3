"""Foxglove and rerun: a real websocket client, a real file, and what must not be opened."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from aam_edge.config import NetConfig, ViewConfig, load_config
from aam_edge.errors import SinkError, UsageError
from aam_edge.messages import Health
from aam_edge.recording.cdr import Codec
from aam_edge.sinks.viewer import Seen, ViewerSink
from aam_edge.sinks.viewers import open_viewers
from tests.browser import HEALTH, Scene, make_attention, make_frame
from tests.views import pinhole

DEADLINE_S = 45.0
SDK = "foxglove.sdk.v1"


def seen(camera: str, k: int) -> tuple[Any, list[Any]]:
    frame = make_frame(k, camera=camera)
    maps = [make_attention(frame, Scene(), f"prompt {i}", i) for i in range(2)]
    return frame, [attention.published(k, frame.capture_ns + 5_000_000) for attention in maps]


class Shown:
    """A viewer that remembers, and waits where a test asks it to."""

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.has_shown = threading.Semaphore(0)
        self.is_closed = False

    def show(self, seen: Seen) -> None:
        self.frames.append(seen.frame.frame_id)
        self.has_shown.release()
        assert self.may_go_on.wait(DEADLINE_S)
        if seen.frame.frame_id == 13:
            raise ValueError("unlucky")

    def report(self, health: Health) -> None:
        self.has_shown.release()

    def close(self) -> None:
        self.is_closed = True


def test_slow_viewer_gets_the_newest_and_slows_nobody() -> None:
    shown = Shown()
    sink = ViewerSink("shown", shown, fps=10_000)
    shown.may_go_on.clear()
    sink.offer(*seen("0", 0))
    assert shown.has_shown.acquire(timeout=DEADLINE_S)
    for k in range(1, 50):
        sink._due_s.clear()
        sink.offer(*seen("0", k))
    assert sink.dropped == 48
    shown.may_go_on.set()
    assert shown.has_shown.acquire(timeout=DEADLINE_S)
    assert shown.frames == [0, 49]
    sink.close()
    sink.close()
    assert shown.is_closed


def test_viewer_gets_no_more_pictures_than_asked() -> None:
    shown = Shown()
    sink = ViewerSink("shown", shown, fps=0.01)
    for k in range(5):
        sink.offer(*seen("0", k))
        sink.offer(*seen("1", k))
    for _ in range(2):
        assert shown.has_shown.acquire(timeout=DEADLINE_S)
    sink.close()
    assert shown.frames == [0, 0]
    assert sink.dropped == 0


def test_viewer_that_fails_is_said_in_health() -> None:
    shown = Shown()
    sink = ViewerSink("shown", shown, fps=10_000)
    assert sink.state() == "ok"
    sink.offer(*seen("0", 13))
    sink._thread.join(DEADLINE_S)
    assert sink.state() == "stopped: unlucky"
    assert shown.is_closed


def foxglove_of(listen: str = "127.0.0.1:0", **net: Any) -> ViewerSink:
    config = load_config(options={"view.foxglove": True, "view.foxglove_listen": listen, **net})
    lens = pinhole((320, 240), 300.0)
    (sink,) = open_viewers(config, ["left", "right"], lambda *_: lens)
    return sink


async def advertised(ws: ClientWebSocketResponse, topics: set[str]) -> dict[str, Any]:
    """Channels by topic, once all of these are there."""
    channels: dict[str, Any] = {}
    while not topics <= set(channels):
        message = await ws.receive()
        assert message.type is WSMsgType.TEXT, message
        body = json.loads(message.data)
        if body["op"] == "advertise":
            channels |= {channel["topic"]: channel for channel in body["channels"]}
    return channels


async def received(ws: ClientWebSocketResponse, count: int, again: Callable[[], None]) -> Any:
    """The first message of each of so many subscriptions: log time and payload."""
    found: dict[int, tuple[int, bytes]] = {}
    while len(found) < count:
        again()
        try:
            message = await ws.receive(timeout=1.0)
        except asyncio.TimeoutError:
            continue  # offered before the subscription was taken
        if message.type is WSMsgType.BINARY and message.data[0] == 1:
            subscription, log_ns = struct.unpack_from("<IQ", message.data, 1)
            found[subscription] = log_ns, message.data[13:]
    return found


def test_foxglove_gets_the_topics_of_a_recording() -> None:
    pytest.importorskip("foxglove", reason="the extra [foxglove] is not installed")
    sink = foxglove_of()
    wanted = ["image/compressed", "targets", "gaze", "attention/compressed", "camera_info"]
    wanted = [f"/aam/camera_right/{name}" for name in (*wanted, "prompt_1/gaze", "annotations")]
    wanted += ["/diagnostics", "/aam/health"]

    def again() -> None:
        sink._due_s.clear()
        sink.offer(*seen("left", 7))
        sink.offer(*seen("right", 7))
        sink.offer_health(HEALTH)

    async def work() -> None:
        url = sink._viewer.url  # type: ignore[attr-defined]
        async with ClientSession() as session, session.ws_connect(url, protocols=[SDK]) as ws:
            again()
            channels = await advertised(ws, set(wanted))
            asked = [{"id": k, "channelId": channels[t]["id"]} for k, t in enumerate(wanted)]
            await ws.send_json({"op": "subscribe", "subscriptions": asked})
            found = await received(ws, len(wanted), again)
            for k, topic in enumerate(wanted):
                channel = channels[topic]
                if not topic.endswith("annotations"):
                    assert (channel["encoding"], channel["schemaEncoding"]) == ("cdr", "ros2msg")
                    codec = Codec(channel["schemaName"], channel["schema"])
                    found[k] = (*found[k], codec.decode(found[k][1]))
            picture = cv2.imdecode(np.frombuffer(found[0][2]["data"], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape == (240, 320, 3)
            assert found[0][2]["header"]["frame_id"] == "camera_right_optical_frame"
            assert found[1][2]["detections"][0]["id"] == "7"
            assert found[4][2]["k"][0] == pytest.approx(300)
            annotations = channels["/aam/camera_right/annotations"]
            assert annotations["schemaName"] == "foxglove.ImageAnnotations"
            assert len(found[6][1]) > 50

    try:
        asyncio.run(asyncio.wait_for(work(), DEADLINE_S))
        assert sink.state() == "ok"
    finally:
        sink.close()


def test_address_that_others_reach_is_refused() -> None:
    pytest.importorskip("foxglove", reason="the extra [foxglove] is not installed")
    with pytest.raises(SinkError, match="viewer would be open to the network"):
        foxglove_of("0.0.0.0:0")
    foxglove_of("0.0.0.0:0", **{"net.insecure": True}).close()
    with pytest.raises(UsageError, match="Foxglove address is wrong"):
        foxglove_of("somewhere")


def test_port_in_use_is_one_line() -> None:
    pytest.importorskip("foxglove", reason="the extra [foxglove] is not installed")
    sink = foxglove_of()
    try:
        port = sink._viewer.url.rpartition(":")[2]  # type: ignore[attr-defined]
        with pytest.raises(SinkError, match=r"Foxglove cannot listen there .* in use"):
            foxglove_of(f"127.0.0.1:{port}")
    finally:
        sink.close()


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from aam_edge.sinks.foxglove import FoxgloveViewer
    from aam_edge.sinks.rerun import RerunViewer

    monkeypatch.setitem(__import__("sys").modules, "foxglove", None)
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(SinkError, match=r"pip install aam-edge\[foxglove\]"):
        FoxgloveViewer(ViewConfig(), NetConfig(), ["0"], "/aam", lambda *_: None)
    with pytest.raises(SinkError, match=r"pip install aam-edge\[rerun\]"):
        RerunViewer(ViewConfig(rerun="out.rrd"), NetConfig())
