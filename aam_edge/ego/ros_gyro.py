"""A gyro on a ROS topic, sensor_msgs/Imu, through rosbridge.

A thread of its own listens; samples carry the stamps of their headers. A bridge that goes away is
waited for: meanwhile there are no samples, and no ego-motion.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from aam_edge.ego.gyro import Gyro
from aam_edge.ros.messages import message
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.executors import SingleThreadedExecutor
from aam_edge.ros.rclpy.node import Node

logger = logging.getLogger(__name__)

IMU = "sensor_msgs/msg/Imu"
QUEUE = 200
"""Samples that may wait for the thread: half a second of a fast gyro."""
SILENT_S = 1.0
SKEW_NS = 1_000_000_000
CLOSE_S = 0.5


class RosGyro:
    """Listens from its constructor on, which raises SinkError where the extra is missing."""

    def __init__(self, topic: str, url: str) -> None:
        self.gyro = Gyro()
        self._topic, self._url = f"/{topic.lstrip('/')}", url
        self._heard_s: float | None = None
        self._has_warned = False
        self._context = Context(url)
        self._context.init([])
        node = Node("aam_edge_gyro", context=self._context)
        self._bridge = self._context.bridge
        node.create_subscription(message(IMU), self._topic, self._take, QUEUE)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, name="aam-gyro", daemon=True)
        self._thread.start()
        logger.info("gyro: %s through %s", self._topic, url)

    def trouble(self) -> str:
        """What is wrong, one line; empty if samples come."""
        heard_s = self._heard_s
        if heard_s is not None and time.monotonic() - heard_s < SILENT_S:
            return ""
        state = self._bridge.state()
        return f"gyro: {state if state != 'ok' else f'nothing comes on {self._topic}'}"

    def close(self) -> None:
        """Leaves the bridge; twice is fine."""
        self._context.try_shutdown()
        self._thread.join(CLOSE_S)

    def _spin(self) -> None:
        """The body of the thread."""
        try:
            self._executor.spin()
        except Exception:  # the top of a thread
            logger.exception("gyro %s stopped", self._topic)

    def _take(self, msg: Any) -> None:
        stamp, rate = msg.header.stamp, msg.angular_velocity
        now_ns = time.time_ns()
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        if abs(now_ns - stamp_ns) > SKEW_NS and not self._has_warned:
            self._has_warned = True
            late_s = (now_ns - stamp_ns) / 1e9
            words = "has no stamps" if stamp_ns <= 0 else f"is stamped {late_s:.1f} s ago"
            logger.warning("%s %s: check clocks and driver", self._topic, words)
        self._heard_s = time.monotonic()
        self.gyro.add(stamp_ns if stamp_ns > 0 else now_ns, (rate.x, rate.y, rate.z))
