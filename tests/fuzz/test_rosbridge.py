"""Strangers behind a ROS bridge: whatever it sends, our client goes on and says so in one line."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("roslibpy", reason="needs the extra [ros]")

from aam_edge.ros.bridge import Bridge
from aam_edge.ros.dialect import Dialect, decode
from aam_edge.ros.fragments import Fragments
from aam_edge.ros.session import dialect_of
from aam_edge.ros.typecheck import unfit_topics, unknown_fields
from aam_edge.sources.ros_picture import picture_of
from tests.fuzz.attack import FEW, attack, corpus, replayed, stands, times
from tests.fuzz.mutation import json_like
from tests.rosbridge import RosBridge

TRIES, TRY_S = 100, 0.2
STAMP = {"sec": 1_800_000_000, "nanosec": 5}
HEADER = {"stamp": STAMP, "frame_id": "camera"}
IMAGE = {
    "header": HEADER, "height": 2, "width": 2, "encoding": "bgr8", "is_bigendian": 0, "step": 6,
    "data": "AAECAwQFBgcICQoL",
}  # fmt: skip
MESSAGES = {
    "sensor_msgs/msg/Image": IMAGE,
    "sensor_msgs/msg/CompressedImage": {"header": HEADER, "format": "jpeg", "data": "/9j/"},
    "sensor_msgs/msg/Imu": {"header": HEADER, "angular_velocity": {"x": 0.1, "y": 0, "z": None}},
    "std_msgs/msg/String": {"data": "cup"},
    "vision_msgs/msg/Detection2DArray": {
        "header": {"stamp": {"secs": 1, "nsecs": 2}},
        "detections": [{"results": [{"id": 3, "score": 0.5}], "bbox": {"center": {"x": 1.0}}}],
    },
}
OPERATIONS: list[dict[str, Any]] = [
    {"op": "publish", "topic": "/prompt", "msg": {"data": "cup"}},
    {"op": "publish", "topic": "/camera", "msg": IMAGE},
    {"op": "fragment", "id": "1", "num": 0, "total": 2, "data": '{"op":"publish"'},
    {"op": "service_response", "id": "call_service:/x:1", "values": {"a": 1}, "result": True},
    {"op": "service_response", "service": "/rosapi/get_time", "values": {"time": STAMP}},
    {"op": "call_service", "id": "s:1", "service": "/reset", "args": {}},
    {"op": "status", "level": "error", "msg": "no", "id": "x"},
    {"op": "set_level", "level": "info"},
    {"op": "png", "data": "iVBORw0KGgo="},
]


def message_door(content: bytes) -> None:
    """A message of any type that we read; ValueError and our own errors are refusals."""
    tree = json.loads(content)
    for kind in MESSAGES:
        try:
            message = decode(kind, tree)
        except ValueError:
            continue
        if kind.endswith("/Image"):
            picture_of(message)


def answers_door(content: bytes) -> None:
    """What a bridge answers about itself."""
    values = json.loads(content)
    dialect_of(values)
    registered = [{"op": "advertise", "topic": "/a", "type": "std_msgs/String"}]
    unfit_topics(registered, dict(zip(values["topics"], values["types"], strict=False)))
    unknown_fields("std_msgs/msg/String", values["typedefs"], Dialect.ROS_2)


@times()
def test_no_message_breaks_its_decoding(cases: int) -> None:
    def door(content: bytes) -> None:
        try:
            json.loads(content)
        except (ValueError, RecursionError):
            return  # that is roslibpy's to refuse
        message_door(content)

    attack(door, json_like(list(MESSAGES.values())), cases)


@replayed("ros_message")
def test_messages_that_broke_decoding_once(case: Path) -> None:
    stands(message_door, case.read_bytes())


@times()
def test_no_piece_breaks_the_fragments(cases: int) -> None:
    fragments = Fragments()

    def door(content: bytes) -> None:
        try:
            part = json.loads(content)
        except (ValueError, RecursionError):
            return
        if isinstance(part, dict):
            fragments.add(part)

    pieces = [{"op": "fragment", "id": "1", "num": n, "total": 3, "data": "ab"} for n in range(3)]
    attack(door, json_like(pieces), cases)


@times(FEW)
def test_no_bridge_breaks_the_client(cases: int, caplog: pytest.LogCaptureFixture) -> None:
    with RosBridge() as ros, caplog.at_level(logging.DEBUG):
        bridge, heard = Bridge(ros.url, first_retry_s=0.05), threading.Event()
        try:
            bridge.subscribe("/prompt", "std_msgs/String", lambda tree: None)
            bridge.subscribe("/last", "std_msgs/String", lambda tree: heard.set())
            bridge.advertise_service("/reset", "std_srvs/Trigger", lambda tree, respond: None)
            ros.wait(lambda: ros.has_subscriber("/last"), "the subscription")

            def door(content: bytes) -> None:
                _say(ros, content)
                heard.clear()
                # A frame that is no text ends the connection, and the client comes back.
                for _ in range(TRIES):
                    ros.publish("/last", "std_msgs/String", {"data": "there?"})
                    if heard.wait(TRY_S):
                        return
                raise AssertionError(f"our client hears nothing after {content[:200]!r}")

            for case in corpus("rosbridge"):
                door(case.read_bytes())
            attack(door, json_like(OPERATIONS), cases)
        finally:
            bridge.close()
    traces = [record for record in caplog.records if record.exc_info and "aam_edge" in record.name]
    assert not traces, traces


def _say(ros: RosBridge, content: bytes) -> None:
    """As text where it is some, else as a binary frame."""
    try:
        ros.send_raw(content.decode())
    except UnicodeDecodeError:
        ros.send_raw(content)
