"""Pictures of a ROS topic, through rosbridge: sensor_msgs/Image or CompressedImage.

The newest picture wins: what was overtaken while the last one was decoded is counted as a gap.
Capture time is the header's stamp. A bridge that goes away is waited for; the feed tells the user.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from aam_edge.config import SourceConfig
from aam_edge.errors import SinkError, SourceError
from aam_edge.messages import Frame, Image, Sound
from aam_edge.ros import rosapi
from aam_edge.ros.messages import message
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.executors import SingleThreadedExecutor
from aam_edge.ros.rclpy.node import Node
from aam_edge.ros.rclpy.subscription import Subscription
from aam_edge.ros.transport import DEFAULT_URL
from aam_edge.ros_definitions import short_name
from aam_edge.sources.mailbox import Ended
from aam_edge.sources.picture import decode_picture
from aam_edge.sources.ros_picture import picture_of

logger = logging.getLogger(__name__)

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CONNECT_S = 5.0
FIRST_PICTURE_S = 5.0
POLL_S = 0.1
MOST_BROKEN = 30
SKEW_NS = 1_000_000_000


class RosSource:
    """A topic as a camera."""

    is_live = True

    def __init__(self, topic: str, config: SourceConfig, camera: str) -> None:
        self.camera = camera
        self._topic = f"/{topic.lstrip('/')}"
        self._url = config.bridge or DEFAULT_URL
        self._context: Context | None = None
        self._executor: SingleThreadedExecutor | None = None
        self._subscription: Subscription | None = None
        self._frame: Frame | None = None
        self._frame_id = -1
        self._missed = self._broken = 0
        self._has_warned = self._interrupted = False

    def open(self) -> None:
        """Reaches the bridge, finds the topic's type and waits for a first picture."""
        try:
            self._context = Context(self._url)
            self._context.init([])
            node = Node(f"aam_edge_{self.camera.replace('-', '_')}", context=self._context)
        except SinkError as problem:  # the extra is missing: here it is the source that fails
            raise SourceError(problem.what, problem.value, problem.todo) from problem
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._wait_for_bridge(node)
        kind = self._find_kind(node)
        self._missed = self._broken = 0
        take = self._take_image if kind == IMAGE else self._take_compressed
        self._subscription = node.create_subscription(message(kind), self._topic, take, 1)
        self._frame = self._next(FIRST_PICTURE_S)
        if self._frame is None:
            raise SourceError("no pictures come on a ROS topic", self._topic, self._advice(node))
        logger.info("camera %s is open: %s through %s", self._topic, short_name(kind), self._url)

    def read(self) -> Frame | Sound:
        """The next picture, however long it takes; SourceError if they cannot be read."""
        frame, self._frame = self._frame, None
        while frame is None:
            frame = self._next(POLL_S)
        return frame

    def interrupt(self) -> None:
        """Ends a read that waits."""
        self._interrupted = True
        executor = self._executor
        if executor is not None:
            executor.shutdown()

    def close(self) -> None:
        """Leaves the bridge."""
        if self._context is not None:
            self._context.try_shutdown()
        self._context = self._executor = self._subscription = None

    def _wait_for_bridge(self, node: Node) -> None:
        deadline_s = time.monotonic() + CONNECT_S
        bridge = node.context.bridge
        while not bridge.is_ready:
            self._spin(POLL_S)
            if time.monotonic() > deadline_s:
                todo = "start rosbridge, or say where it is with --ros ws://HOST:9090"
                raise SourceError("no ROS bridge answers", self._url, todo)

    def _find_kind(self, node: Node) -> str:
        """The type of the topic; a guess from its name where rosapi does not say."""
        deadline_s = time.monotonic() + CONNECT_S
        guess = COMPRESSED if self._topic.endswith("/compressed") else IMAGE
        while True:
            try:
                kind = rosapi.topics(node.context.bridge).get(self._topic)
            except RuntimeError:
                return guess
            if kind in (IMAGE, COMPRESSED):
                return kind
            if kind or time.monotonic() > deadline_s:
                values = f"{self._topic} is {short_name(kind)}" if kind else self._topic
                what = "ROS topic has no pictures" if kind else "no such ROS topic"
                raise SourceError(what, values, self._advice(node))
            self._spin(POLL_S)

    def _advice(self, node: Node) -> str:
        """Topics that would do."""
        try:
            known = rosapi.topics(node.context.bridge)
        except RuntimeError:
            return "check its name and that the camera runs"
        named = sorted(t for t, kind in known.items() if kind in (IMAGE, COMPRESSED))
        others = [topic for topic in named if topic != self._topic]
        return f"give one of {', '.join(others)}" if others else "check that the camera runs"

    def _next(self, timeout_s: float) -> Frame | None:
        deadline_s = time.monotonic() + timeout_s
        while self._frame is None and (left_s := deadline_s - time.monotonic()) > 0:
            self._spin(left_s)
        frame, self._frame = self._frame, None
        return frame

    def _spin(self, timeout_s: float) -> None:
        if self._interrupted or self._executor is None:
            raise Ended
        self._executor.spin_once(timeout_s)
        if self._interrupted:
            raise Ended

    def _take_image(self, msg: Any) -> None:
        self._take(msg, picture_of)

    def _take_compressed(self, msg: Any) -> None:
        self._take(msg, lambda m: decode_picture(m.data.tobytes(), self._topic))

    def _take(self, msg: Any, decode: Any) -> None:
        """One message to a frame; some broken ones are passed over."""
        stamp = msg.header.stamp
        capture_ns = self._capture_ns(stamp.sec * 1_000_000_000 + stamp.nanosec, time.time_ns())
        try:
            image: Image = decode(msg)
        except SourceError:
            self._broken += 1
            if self._broken > MOST_BROKEN:
                raise
            return
        assert self._subscription is not None
        missed = self._subscription.dropped + self._broken
        self._frame_id += 1
        self._frame = Frame(image, capture_ns, self.camera, self._frame_id, missed - self._missed)
        self._missed, self._broken = self._subscription.dropped, 0

    def _capture_ns(self, stamp_ns: int, now_ns: int) -> int:
        """The stamp, or the time of arrival where there is none."""
        skew_ns = now_ns - stamp_ns
        if abs(skew_ns) > SKEW_NS and not self._has_warned:
            self._has_warned = True
            words = "has no stamps" if stamp_ns <= 0 else f"is stamped {skew_ns / 1e9:.1f} s ago"
            logger.warning("%s %s: check clocks and driver", self._topic, words)
        return stamp_ns if stamp_ns > 0 else now_ns
