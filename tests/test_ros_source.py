"""A ROS topic as a camera, through a strict bridge."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

from aam_edge.config import SourceConfig
from aam_edge.errors import SourceError
from aam_edge.messages import Frame
from aam_edge.ros.messages import message
from aam_edge.sources import ros as ros_source
from aam_edge.sources.catalog import camera_name, make_source
from aam_edge.sources.feed import Feed, SourceState
from aam_edge.sources.mailbox import Ended, Mailbox
from aam_edge.sources.ros import RosSource
from aam_edge.sources.ros_picture import picture_of
from tests.conftest import scene
from tests.program import Program, free_endpoint
from tests.ros_fit import Tree
from tests.rosbridge import DEADLINE_S, RosBridge
from tests.test_ros_bridge import wait_for

Image = message("sensor_msgs/msg/Image")
TOPIC = "/head/image_raw"
START_NS = time.time_ns()


def stamp_of(server: RosBridge, number: int) -> Tree:
    names = ("secs", "nsecs") if server.ros == 1 else ("sec", "nanosec")
    sec, nanosec = divmod(START_NS + number, 1_000_000_000)
    return {"stamp": dict(zip(names, (sec, nanosec), strict=True)), "frame_id": "head"}


def plain(server: RosBridge, number: int = 0, width: int = 64, height: int = 48) -> Tree:
    image = scene(number, width, height)
    return {
        "header": stamp_of(server, number),
        "height": height,
        "width": width,
        "encoding": "bgr8",
        "is_bigendian": 0,
        "step": 3 * width,
        "data": base64.b64encode(image.tobytes()).decode(),
    }


class Publisher:
    """Publishes a picture again and again, as a camera's driver does."""

    def __init__(self, server: RosBridge, topic: str, kind: str, make: Any):
        self._server, self._topic, self._kind, self._make = server, topic, kind, make
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.number = 0

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            self._server.publish(self._topic, self._kind, self._make(self.number))
            self.number += 1

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def open_topic(server: RosBridge, topic: str = TOPIC) -> Iterator[RosSource]:
    source = RosSource(topic, SourceConfig(bridge=server.url), "head")
    try:
        source.open()
        yield source
    finally:
        source.close()


def read_frame(source: RosSource) -> Frame:
    item = source.read()
    assert isinstance(item, Frame)
    return item


@pytest.mark.parametrize("ros", [1, 2])
def test_pictures_of_a_topic_are_frames_with_the_time_of_their_header(ros: int) -> None:
    with RosBridge(ros) as server:
        kind = "sensor_msgs/Image"
        with Publisher(server, TOPIC, kind, lambda n: plain(server, n)), open_topic(server) as s:
            frame = read_frame(s)
            number = frame.capture_ns - START_NS
            np.testing.assert_array_equal(frame.image, scene(number, 64, 48))
            later = read_frame(s)
            assert later.frame_id == frame.frame_id + 1
            assert later.capture_ns > frame.capture_ns


def test_compressed_pictures_are_found_by_the_type_of_their_topic() -> None:
    def jpeg(number: int) -> Tree:
        data = cv2.imencode(".jpg", scene(number, 64, 48))[1].tobytes()
        head = stamp_of(server, number)
        return {"header": head, "format": "jpeg", "data": base64.b64encode(data).decode()}

    with RosBridge() as server:
        kind = "sensor_msgs/CompressedImage"
        with Publisher(server, "/odd/name", kind, jpeg), open_topic(server, "odd/name") as source:
            frame = read_frame(source)
            number = frame.capture_ns - START_NS
            assert np.abs(frame.image - scene(number, 64, 48).astype(int)).mean() < 12


def test_newest_picture_wins_and_the_lost_ones_are_a_gap() -> None:
    with (
        RosBridge() as server,
        Publisher(server, TOPIC, "sensor_msgs/Image", lambda n: plain(server, n)) as camera,
        open_topic(server) as source,
    ):
        read_frame(source)
        behind = camera.number
        wait_for(lambda: camera.number > behind + 20, "pictures")
        before = read_frame(source)
        frame = read_frame(source)
        assert before.gap + frame.gap >= 15
        assert frame.capture_ns - START_NS >= behind + 15


def test_bridge_that_goes_and_comes_back_is_waited_for() -> None:
    with RosBridge() as server:
        mailbox: Mailbox[Frame] = Mailbox()
        config = SourceConfig(bridge=server.url, stall_s=0.2)
        feed = Feed(RosSource(TOPIC, config, "head"), mailbox, None, config)
        kind = "sensor_msgs/Image"
        with Publisher(server, TOPIC, kind, lambda n: plain(server, n)):
            feed.start()
            try:
                assert mailbox.take(DEADLINE_S) is not None
                server.refuses = True
                server.drop(half_a_message=True)

                def is_lost() -> bool:
                    feed.check(time.monotonic_ns())
                    return feed.state is SourceState.LOST

                wait_for(is_lost, "loss")
                server.refuses = False
                mailbox.take(0)
                assert mailbox.take(DEADLINE_S) is not None
                assert feed.state is SourceState.LIVE
            finally:
                feed.stop()


def test_no_bridge_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_source, "CONNECT_S", 0.3)
    url = free_endpoint().replace("tcp", "ws")
    source = RosSource(TOPIC, SourceConfig(bridge=url), "head")
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    assert str(caught.value) == (
        f"no ROS bridge answers ({url}): "
        "start rosbridge, or say where it is with --ros ws://HOST:9090"
    )


def test_topic_without_pictures_is_said_with_those_that_have_some() -> None:
    with RosBridge() as server:
        server.publish("/words", "std_msgs/String", {"data": "x"})
        server.publish(TOPIC, "sensor_msgs/Image", plain(server))
        with pytest.raises(SourceError) as caught, open_topic(server, "/words"):
            pass
        assert str(caught.value) == (
            f"ROS topic has no pictures (/words is std_msgs/String): give one of {TOPIC}"
        )


def test_topic_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_source, "CONNECT_S", 0.3)
    with RosBridge() as server:
        server.publish(TOPIC, "sensor_msgs/Image", plain(server))
        with pytest.raises(SourceError) as caught, open_topic(server, "/haed/image_raw"):
            pass
        assert str(caught.value) == f"no such ROS topic (/haed/image_raw): give one of {TOPIC}"


def test_topic_on_which_nothing_comes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_source, "FIRST_PICTURE_S", 0.3)
    with RosBridge() as server:
        server.publish(TOPIC, "sensor_msgs/Image", plain(server))
        with pytest.raises(SourceError) as caught, open_topic(server):
            pass
        assert "no pictures come on a ROS topic" in str(caught.value)


def test_bridge_without_rosapi_gives_pictures_all_the_same() -> None:
    with RosBridge(rosapi=False) as server:
        kind = "sensor_msgs/Image"
        with Publisher(server, TOPIC, kind, lambda n: plain(server, n)), open_topic(server) as s:
            assert read_frame(s).size == (64, 48)


def test_some_broken_pictures_are_passed_over_and_counted() -> None:
    def sometimes(number: int) -> Tree:
        picture = plain(server, number)
        return picture if number % 3 == 0 else picture | {"data": "AAAA"}

    with (
        RosBridge() as server,
        Publisher(server, TOPIC, "sensor_msgs/Image", sometimes),
        open_topic(server) as source,
    ):
        frames = [read_frame(source) for _ in range(4)]
        assert all((frame.capture_ns - START_NS) % 3 == 0 for frame in frames)
        assert sum(frame.gap for frame in frames) >= 4


def test_pictures_that_cannot_be_read_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_source, "MOST_BROKEN", 2)
    with RosBridge() as server:
        depth = plain(server) | {"encoding": "32FC1"}
        with (
            Publisher(server, TOPIC, "sensor_msgs/Image", lambda n: depth),
            pytest.raises(SourceError) as caught,
            open_topic(server),
        ):
            pass
        assert "unknown encoding (32FC1)" in str(caught.value)


def test_picture_without_a_stamp_gets_the_time_of_arrival(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RosBridge() as server:
        bare = plain(server)
        del bare["header"]
        before = time.time_ns()
        with (
            Publisher(server, TOPIC, "sensor_msgs/Image", lambda n: bare),
            open_topic(server) as source,
        ):
            assert before <= read_frame(source).capture_ns <= time.time_ns()
        assert f"{TOPIC} has no stamps" in caplog.text


def test_interrupt_ends_a_read_that_waits() -> None:
    with RosBridge() as server:
        ended = threading.Event()
        with Publisher(server, TOPIC, "sensor_msgs/Image", lambda n: plain(server, n)):
            source = RosSource(TOPIC, SourceConfig(bridge=server.url), "head")
            source.open()

        def read() -> None:
            try:
                while True:
                    source.read()
            except Ended:
                ended.set()

        thread = threading.Thread(target=read)
        thread.start()
        source.interrupt()
        assert ended.wait(DEADLINE_S)
        thread.join()
        source.close()
        source.close()


def test_library_that_is_missing_is_said_in_one_line() -> None:
    script = """
import sys
sys.modules["roslibpy"] = None
from aam_edge.cli.main import main
arguments = ["--camera", "ros:/head/image_raw", "--page", "none", "--pub", "none"]
print(main([*arguments, "--control", "none"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "3\n", done.stderr
    assert done.stderr.endswith("pip install aam-edge[ros]\n")


def test_stream_looks_through_a_topic_and_answers_on_others() -> None:
    with RosBridge() as server:
        kind = "sensor_msgs/Image"
        pictures = Publisher(server, TOPIC, kind, lambda n: plain(server, n, 320, 240))
        with pictures, Program("--camera", f"ros:{TOPIC}", "--ros", server.url) as program:
            gaze = server.next("/aam/gaze")["header"]
            assert gaze["frame_id"] == "camera_head_optical_frame"
            stamp_ns = gaze["stamp"]["sec"] * 10**9 + gaze["stamp"]["nanosec"]
            assert 0 <= stamp_ns - START_NS < 10**9, "the stamp of the topic came back"
            assert program.stop() < 1.5
            assert program.process.returncode == 0
        assert server.log == []


@pytest.mark.parametrize(
    ("encoding", "kind", "code"),
    [
        ("bgr8", np.uint8, None),
        ("rgb8", np.uint8, cv2.COLOR_BGR2RGB),
        ("bgra8", np.uint8, cv2.COLOR_BGR2BGRA),
        ("rgba8", np.uint8, cv2.COLOR_BGR2RGBA),
        ("mono8", np.uint8, cv2.COLOR_BGR2GRAY),
        ("mono16", np.uint16, cv2.COLOR_BGR2GRAY),
        ("rgb16", np.uint16, cv2.COLOR_BGR2RGB),
    ],
)
@pytest.mark.parametrize("padding", [0, 10])
@pytest.mark.parametrize("is_bigendian", [0, 1])
def test_encodings_are_read(
    encoding: str, kind: type[Any], code: int | None, padding: int, is_bigendian: int
) -> None:
    colours = scene(0, 32, 24)
    picture = colours if code is None else np.asarray(cv2.cvtColor(colours, code))
    expected = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if "mono" in encoding else colours
    values = picture.astype(kind) << (8 if kind is np.uint16 else 0)
    raw = values.astype(values.dtype.newbyteorder(">" if is_bigendian else "<")).reshape(24, -1)
    rows = np.pad(np.ascontiguousarray(raw).view(np.uint8), ((0, 0), (0, padding)))
    sent = Image(
        height=24,
        width=32,
        encoding=encoding,
        is_bigendian=is_bigendian,
        step=rows.shape[1],
        data=rows.tobytes(),
    )
    np.testing.assert_array_equal(picture_of(sent), expected)


def mosaic(colours: np.ndarray[Any, Any], pattern: str) -> np.ndarray[Any, Any]:
    """What a sensor with this pattern of colours, first two rows, sees of a picture."""
    cells = np.empty(colours.shape[:2], np.uint8)
    for at, letter in enumerate(pattern):
        rows, columns = slice(at // 2, None, 2), slice(at % 2, None, 2)
        cells[rows, columns] = colours[rows, columns, "bgr".index(letter)]
    return cells


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_keep_red_red_and_blue_blue(pattern: str) -> None:
    colours = np.zeros((24, 32, 3), np.uint8)
    colours[:] = (40, 90, 200)
    data = mosaic(colours, pattern).tobytes()
    sent = Image(height=24, width=32, encoding=f"bayer_{pattern}8", step=32, data=data)
    np.testing.assert_allclose(
        picture_of(sent)[4:-4, 4:-4].astype(int), colours[4:-4, 4:-4], atol=2
    )


@pytest.mark.parametrize(
    ("encoding", "code"),
    [("yuv422", cv2.COLOR_BGR2YUV_UYVY), ("yuv422_yuy2", cv2.COLOR_BGR2YUV_YUY2)],
)
def test_colour_that_is_shared_by_two_pixels_is_read(encoding: str, code: int) -> None:
    colours = np.zeros((24, 32, 3), np.uint8)
    colours[:] = (40, 90, 200)
    data = np.asarray(cv2.cvtColor(colours, code)).tobytes()
    sent = Image(height=24, width=32, encoding=encoding, step=64, data=data)
    np.testing.assert_allclose(picture_of(sent).astype(int), colours, atol=4)


@pytest.mark.parametrize(
    "changes",
    [{"height": 0}, {"width": 0}, {"data": b""}, {"step": 5}, {"height": 99}, {"width": 99}],
)
def test_picture_with_too_few_bytes_is_said(changes: dict[str, Any]) -> None:
    fields = {"height": 4, "width": 4, "encoding": "bgr8", "step": 12, "data": bytes(48)}
    with pytest.raises(SourceError, match="ROS picture is cut short"):
        picture_of(Image(**fields | changes))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("ros:/head/image_raw", "head"),
        ("ros:/head/image_raw/compressed", "head"),
        ("ros:image_raw", "image_raw"),
        ("ros:/robot/left/image_color", "robot-left"),
    ],
)
def test_camera_is_named_by_what_its_topic_tells(spec: str, name: str) -> None:
    assert camera_name(spec) == name
    assert isinstance(make_source(spec, SourceConfig()), RosSource)
