"""What leaves for ROS and what comes from there, against a strict bridge of either version."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from aam_edge.commands import Answer, Command, Commands
from aam_edge.config import RosConfig
from aam_edge.errors import UsageError
from aam_edge.messages import Attention, Frame, Gaze, Health, Target
from aam_edge.sinks.ros import RosSink, level_of, map_image
from tests.program import free_endpoint
from tests.rosbridge import DEADLINE_S, RosBridge
from tests.test_ros_bridge import wait_for

CAPTURE_NS = 1_700_000_000_000_000_007
STAMP = {"sec": 1_700_000_000, "nanosec": 7}
HEALTH = Health(
    rate_hz=30.0,
    latency_ms={"p50": 9.0, "p99": 20.0},
    stages_ms={},
    dropped={},
    source_state={"0": "live"},
    sinks={"ros": "ok"},
    engine="onnx f32",
    device="cpu",
    rss_bytes=1,
    uptime_s=2.0,
)


def attention(frame_id: int = 1, camera: str = "0", prompt_index: int = 0) -> Attention:
    density = np.full((6, 8), 0.25, np.float32)
    density[2, 3] = 4.0
    return Attention(
        camera=camera,
        frame_id=str(frame_id),
        capture_ns=CAPTURE_NS,
        prompt="free viewing",
        prompt_index=prompt_index,
        image=(640, 480),
        density=density / density.sum(),
        entropy=4.0,
        targets=(Target(7, 320.5, 240.0, 12.0, 0.5, 0.1, -0.2), Target(9, 10.0, 20.0, 5.0, 0.25)),
        gaze=Gaze(320.5, 240.0, 0.1, -0.2, 7),
    )


def frame_of(shown: Attention) -> Frame:
    image = np.zeros((480, 640, 3), np.uint8)
    return Frame(image, shown.capture_ns, shown.camera, int(shown.frame_id))


def offer(sink: RosSink, *shown: Attention) -> None:
    sink.offer(frame_of(shown[0]), shown)


@contextmanager
def sink_of(
    server: RosBridge | str, *, cameras: Sequence[str] = ("0",), **settings: Any
) -> Iterator[RosSink]:
    url = server if isinstance(server, str) else server.url
    config = RosConfig(url=url, retry_max_s=0.2, **settings)
    sink = RosSink(config, Commands(), cameras)
    try:
        if isinstance(server, RosBridge):
            wait_for(lambda: sink.state() == "ok", "connection")
        yield sink
    finally:
        sink.close()


@pytest.mark.parametrize("ros", [1, 2])
def test_map_targets_and_gaze_arrive_with_the_time_of_capture(ros: int) -> None:
    with RosBridge(ros) as server, sink_of(server) as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/gaze/bearing"], "bearing")
        (heat,), (targets,) = (
            server.messages["/aam/attention/compressed"],
            server.messages["/aam/targets"],
        )
        (gaze,), (bearing,) = server.messages["/aam/gaze"], server.messages["/aam/gaze/bearing"]
        for sent in (heat, targets, gaze, bearing):
            assert sent["header"]["stamp"] == STAMP
            assert sent["header"]["frame_id"] == "camera_0_optical_frame"
        assert heat["format"] == "mono8; jpeg compressed mono8"
        picture = cv2.imdecode(np.frombuffer(heat["data"], np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        assert picture.shape == (6, 8)
        assert picture.argmax() == 2 * 8 + 3
        assert gaze["point"] == {"x": 320.5, "y": 240.0, "z": 12.0}
        ray = np.array([bearing["vector"][axis] for axis in "xyz"])
        assert np.linalg.norm(ray) == pytest.approx(1)
        assert ray[0] < 0, "yaw is positive to the left, x to the right"
        assert ray[1] < 0, "pitch is positive downwards, as y is"
        first, second = targets["detections"]
        assert (first["bbox"]["size_x"], second["bbox"]["size_y"]) == (24.0, 10.0)
        if ros == 1:
            assert [d["results"][0]["id"] for d in (first, second)] == [7, 9]
            assert [d["results"][0]["score"] for d in (first, second)] == [0.5, 0.25]
            assert first["bbox"]["center"] == {"x": 320.5, "y": 240.0, "theta": 0.0}
        else:
            assert [d["id"] for d in (first, second)] == ["7", "9"]
            scores = [d["results"][0]["hypothesis"]["score"] for d in (first, second)]
            assert scores == [0.5, 0.25]
            assert first["bbox"]["center"]["position"] == {"x": 320.5, "y": 240.0}
        assert server.log == []


def test_every_topic_is_announced_with_a_queue_of_one() -> None:
    with RosBridge() as server, sink_of(server) as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/gaze/bearing"], "bearing")
        advertised = [o for o in server.operations if o["op"] == "advertise"]
        assert len(advertised) == 4
        assert {o["queue_size"] for o in advertised} == {1}


def test_jpeg_is_the_default_and_the_plain_map_comes_when_asked_for() -> None:
    with RosBridge() as server, sink_of(server, image="32FC1") as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/attention/image"], "image")
        image = server.messages["/aam/attention/image"][0]
        cells = np.frombuffer(image["data"], "<f4").reshape(image["height"], image["width"])
        np.testing.assert_array_equal(cells, attention().density)
        assert (image["encoding"], image["step"]) == ("32FC1", 32)
    with RosBridge() as server, sink_of(server) as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/gaze/bearing"], "bearing")
        assert "/aam/attention/image" not in server.topics


def test_mono8_map_is_scaled_to_its_peak() -> None:
    image = map_image(attention(), "mono8")
    cells = np.frombuffer(image["data"], np.uint8)
    assert (cells.max(), cells.min()) == (255, 16)


def test_namespace_frame_several_cameras_and_prompts_have_their_names() -> None:
    names = {"namespace": "robot/head", "frame_id": ("head_optical", "0=neck_optical")}
    with RosBridge() as server, sink_of(server, cameras=("left-eye", "0"), **names) as sink:
        offer(sink, attention(camera="video-2"), attention(camera="video-2", prompt_index=1))
        offer(sink, attention())
        server.wait(lambda: server.messages["/robot/head/camera_0/gaze"], "second camera")
        server.wait(lambda: server.messages["/robot/head/camera_video_2/prompt_1/gaze"], "prompt")
        gaze = server.messages["/robot/head/camera_video_2/gaze"][0]
        assert gaze["header"]["frame_id"] == "head_optical"
        other = server.messages["/robot/head/camera_0/gaze"][0]
        assert other["header"]["frame_id"] == "neck_optical"


def test_maps_made_without_a_bridge_are_never_sent() -> None:
    url = free_endpoint().replace("tcp", "ws")
    server = RosBridge()
    server.port = int(url.rpartition(":")[2])
    with sink_of(url) as sink:
        for number in range(100):
            offer(sink, attention(number))
        wait_for(lambda: sink.dropped == 100, "counting")
        assert sink.state() == f"no ROS bridge answers at {url}"
        with server:
            wait_for(lambda: sink.state() == "ok", "connection")
            offer(sink, replace(attention(), capture_ns=CAPTURE_NS + 1))
            server.wait(lambda: server.messages["/aam/gaze"], "gaze")
            assert len(server.messages["/aam/gaze"]) == 1
            assert server.messages["/aam/gaze"][0]["header"]["stamp"]["nanosec"] == 8


def test_slow_bridge_slows_nobody_and_hears_the_newest_when_it_is_back() -> None:
    with RosBridge() as server, sink_of(server) as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/gaze"], "gaze")
        server.reads = False
        slowest_s, deadline = 0.0, time.monotonic() + DEADLINE_S
        while "slow" not in sink.state():
            assert time.monotonic() < deadline
            start = time.perf_counter()
            offer(sink, attention())
            slowest_s = max(slowest_s, time.perf_counter() - start)
            time.sleep(0.01)
        assert slowest_s < 0.1
        dropped = sink.dropped
        offer(sink, attention())
        wait_for(lambda: sink.dropped > dropped, "counting")
        server.reads = True
        wait_for(lambda: sink.state() == "ok", "recovery")
        offer(sink, replace(attention(), capture_ns=CAPTURE_NS + 1))
        server.wait(
            lambda: server.messages["/aam/gaze"][-1]["header"]["stamp"]["nanosec"] == 8, "news"
        )


def test_targets_are_json_where_vision_msgs_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    with RosBridge(without=("vision_msgs",)) as server, sink_of(server) as sink:
        offer(sink, attention())
        wait_for(lambda: "install vision_msgs" in sink.state(), "trouble")
        offer(sink, attention(), attention(prompt_index=1))
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/targets"], "targets")
        text = json.loads(server.messages["/aam/targets"][0]["data"])
        assert text["capture_ns"] == CAPTURE_NS
        assert text["targets"][0] == {
            "id": 7,
            "x": 320.5,
            "y": 240.0,
            "sigma_px": 12.0,
            "score": 0.5,
            "yaw": 0.1,
            "pitch": -0.2,
        }
        assert "targets go to ROS as JSON" in caplog.text
        assert server.has_rosapi


def test_targets_are_json_where_nobody_says_what_detections_look_like() -> None:
    with RosBridge(1, rosapi=False) as server, sink_of(server) as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/gaze"], "gaze")
        assert server.topics["/aam/targets"] == "std_msgs/String"
        assert server.messages["/aam/gaze"][0]["header"]["stamp"] == STAMP
        assert sink.state() == "targets are JSON: vision_msgs is missing where the bridge runs"


@pytest.mark.parametrize("ros", [1, 2])
def test_prompt_and_reset_come_in_by_the_door_of_all_commands(ros: int) -> None:
    commands, taken, stop = Commands(), list[Command](), threading.Event()

    def execute(command: Command) -> Answer:
        taken.append(command)
        is_fine = command.get("prompt") != "bad"
        return {"ok": True} if is_fine else {"ok": False, "error": "prompt is odd"}

    def loop() -> None:
        while not stop.wait(0.005):
            commands.execute(execute)

    thread = threading.Thread(target=loop)
    with RosBridge(ros) as server:
        sink = RosSink(RosConfig(url=server.url), commands)
        thread.start()
        try:
            server.wait(lambda: server.has_service("/aam/reset"), "service")
            server.wait(lambda: server.has_subscriber("/aam/prompt"), "subscription")
            server.publish("/aam/prompt", "std_msgs/String", {"data": "search for cup"})
            wait_for(lambda: taken, "prompt")
            assert taken == [{"cmd": "set_prompt", "prompt": "search for cup"}]
            assert server.call("/aam/reset") == {"success": True, "message": ""}
            assert taken[-1] == {"cmd": "reset"}
        finally:
            sink.close()
            stop.set()
            thread.join()


def test_prompt_and_reset_of_one_of_several_cameras() -> None:
    commands, taken, stop = Commands(), list[Command](), threading.Event()

    def execute(command: Command) -> Answer:
        taken.append(command)
        return {"ok": True}

    def loop() -> None:
        while not stop.wait(0.01):
            commands.execute(execute)

    thread = threading.Thread(target=loop)
    thread.start()
    with RosBridge() as server:
        sink = RosSink(RosConfig(url=server.url), commands, ("left-eye", "right"))
        try:
            topic = "/aam/camera_left_eye/prompt"
            server.wait(lambda: server.has_subscriber(topic), "subscription")
            server.publish(topic, "std_msgs/String", {"data": "search for cup"})
            wait_for(lambda: taken, "prompt")
            expected = {"cmd": "set_prompt", "prompt": "search for cup", "camera": "left-eye"}
            assert taken == [expected]
            server.call("/aam/camera_right/reset")
            assert taken[-1] == {"cmd": "reset", "camera": "right"}
            server.call("/aam/reset")
            assert taken[-1] == {"cmd": "reset"}
        finally:
            sink.close()
            stop.set()
            thread.join()


def test_prompt_that_is_refused_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with RosBridge() as server, sink_of(server):
        # Nobody executes commands: this loop is stuck.
        server.wait(lambda: server.has_subscriber("/aam/prompt"), "subscription")
        server.publish("/aam/prompt", "std_msgs/String", {"data": "x"})
        wait_for(lambda: "prompt from ROS is refused: no answer" in caplog.text, "line")


def test_health_becomes_diagnostics() -> None:
    with RosBridge() as server, sink_of(server) as sink:
        sink.offer_health(replace(HEALTH, warnings=("camera is lost",)))
        server.wait(lambda: server.messages["/diagnostics"], "diagnostics")
        (status,) = server.messages["/diagnostics"][0]["status"]
        assert (status["level"], status["message"]) == (1, "camera is lost")
        values = {pair["key"]: json.loads(pair["value"]) for pair in status["values"]}
        assert values["rate_hz"] == 30.0
        assert server.log == []


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, 0),
        ({"warnings": ("paused",)}, 1),
        ({"sinks": {"recording": "disk is full"}}, 1),
        ({"sinks": {"ros": "no ROS bridge answers"}}, 0),
        ({"source_state": {"0": "lost"}}, 2),
        ({"source_state": {"0": "lost", "1": "live"}}, 0),
    ],
)
def test_level_says_how_bad_it_is(changes: dict[str, Any], level: int) -> None:
    assert level_of(replace(HEALTH, **changes)) == level


@pytest.mark.parametrize("is_there", [True, False])
def test_close_takes_a_second_at_most_and_twice_is_fine(is_there: bool) -> None:
    with RosBridge() as server:
        url = server.url if is_there else free_endpoint().replace("tcp", "ws")
        sink = RosSink(RosConfig(url=url), Commands())
        wait_for(lambda: is_there is (sink.state() == "ok"), "connection")
        offer(sink, attention())
        start = time.monotonic()
        sink.close()
        sink.close()
        offer(sink, attention())
        assert time.monotonic() - start < 1.0
        assert not sink._thread.is_alive()


@pytest.mark.parametrize("namespace", ["a b", "/a//b", "1a", "/a/", "ä"])
def test_wrong_namespace_is_said(namespace: str) -> None:
    with pytest.raises(UsageError, match="not a namespace of ROS"):
        RosConfig(namespace=namespace)


def test_data_of_pictures_travels_as_base64() -> None:
    with RosBridge() as server, sink_of(server) as sink:
        offer(sink, attention())
        server.wait(lambda: server.messages["/aam/attention/compressed"], "map")
        (sent,) = [o for o in server.operations if o.get("topic") == "/aam/attention/compressed"][
            -1:
        ]
        assert base64.b64decode(sent["msg"]["data"]).startswith(b"\xff\xd8")
