"""ROS, 1 or 2, through rosbridge: maps, targets, gaze and diagnostics out, prompt and reset in.

CONTRACT 3 names the topics; the messages are those of a recording. The loop leaves the newest map
of each camera and prompt in a slot; a thread of our own spins a node of `aam_edge.ros.rclpy`,
publishes what lies there, and hands what comes to the loop by the door of all commands. While no
bridge is there, what was in the slots is dropped: a robot must not act on what was seen long ago.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from aam_edge.commands import Command, Commands
from aam_edge.config import RosConfig
from aam_edge.crops import Crops
from aam_edge.messages import Attention, Frame, Health
from aam_edge.pulse import OK, PAUSED
from aam_edge.recording import topics
from aam_edge.ros.messages import message, service
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.executors import SingleThreadedExecutor
from aam_edge.ros.rclpy.node import Node
from aam_edge.ros.rclpy.publisher import Publisher
from aam_edge.sinks.ros_crops import crop_entries
from aam_edge.sinks.ros_targets import DETECTIONS, TargetsTopic

logger = logging.getLogger(__name__)

NODE = "aam_edge"
CLOSE_S = 0.8
ANSWER_S = 1.0
"""Longest wait for the loop to execute a command; the node publishes nothing meanwhile."""


class RosSink:
    """A node behind a bridge as a sink; tries to reach the bridge from its constructor on.

    Raises:
        UsageError: `config.url` is no address.
        SinkError: the extra is missing.
    """

    name = "ros"

    def __init__(
        self, config: RosConfig, commands: Commands, cameras: Sequence[str] = ("camera",)
    ) -> None:
        """`cameras`: their names; of one alone the name stands in no topic."""
        self.dropped = 0
        self._config, self._commands, self._is_alone = config, commands, len(cameras) == 1
        named = (spec.rpartition("=") for spec in config.frame_id)
        self._frames = {camera: frame for camera, _, frame in named}
        self._context = Context(config.url, retry_max_s=config.retry_max_s)
        self._context.init([])
        self._node = Node(NODE, context=self._context, namespace=config.namespace)
        self._bridge = self._context.bridge
        self._lock = threading.Lock()
        self._maps: dict[tuple[str, int], Attention] = {}
        self._crops: dict[str, Crops] = {}
        self._health: Health | None = None
        self._publishers: dict[str, Publisher] = {}
        self._targets: dict[str, TargetsTopic] = {}
        self._trouble = ""
        self._take_commands("", None)
        for camera in () if self._is_alone else cameras:
            self._take_commands(self._prefix(camera), camera)
        self._news = self._node.create_guard_condition(self._publish_all)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="aam-ros", daemon=True)
        self._thread.start()
        logger.info("publishing to ROS through %s under %s", config.url, config.namespace)

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Leaves the maps for the node, over older ones."""
        with self._lock:
            for attention in attentions:
                key = attention.camera, attention.prompt_index
                self.dropped += key in self._maps
                self._maps[key] = attention
        self._wake()

    def offer_crops(self, crops: Crops) -> None:
        """Leaves them for the node, over older ones of the camera."""
        with self._lock:
            self._crops[crops.camera] = crops
        self._wake()

    def offer_health(self, health: Health) -> None:
        """Becomes /diagnostics."""
        with self._lock:
            self._health = health
        self._wake()

    def state(self) -> str:
        """`ok`, or what is wrong."""
        trouble = self._trouble or self._bridge.state()
        if trouble == "ok" and any(topic.is_json for topic in list(self._targets.values())):
            return "targets are JSON: vision_msgs is missing where the bridge runs"
        return trouble

    def close(self) -> None:
        """Takes all topics back; twice is fine."""
        self._context.try_shutdown()
        self._thread.join(CLOSE_S)

    def _wake(self) -> None:
        if self._context.ok():
            self._news.trigger()

    def _spin(self) -> None:
        """The node's thread."""
        try:
            self._executor.spin()
        except Exception as problem:  # the top of a thread
            self._trouble = f"stopped: {problem}"
            logger.exception("ROS stopped")

    def _publish_all(self) -> None:
        with self._lock:
            maps, self._maps = self._maps, {}
            crops, self._crops = self._crops, {}
            health, self._health = self._health, None
        if not self._bridge.is_ready:
            self.dropped += len(maps)
            return
        for attention in maps.values():
            self._publish_map(attention)
        for shown in crops.values():
            self._publish_crops(shown)
        if health is not None:
            self._publish_health(health)

    def _publish_map(self, attention: Attention) -> None:
        """Everything of one map; it counts as dropped when any part of it was."""
        before = self._bridge.dropped
        prefix = self._prefix(attention.camera)
        for topic, kind, tree in topics.shown_entries(attention):
            tree["header"]["frame_id"] = self._frame_of(attention.camera)
            if kind == DETECTIONS:
                self._targets_topic(prefix + topic).publish(tree, attention)
            else:
                self._publish(prefix + topic, kind, tree)
            if topic.endswith("attention/compressed") and self._config.image != "none":
                plain = map_image(attention, self._config.image) | {"header": tree["header"]}
                topic = topic.replace("compressed", "image")
                self._publish(prefix + topic, "sensor_msgs/msg/Image", plain)
        self.dropped += self._bridge.dropped > before

    def _publish_crops(self, crops: Crops) -> None:
        for topic, kind, tree in crop_entries(crops, self._frame_of(crops.camera)):
            self._publish(self._prefix(crops.camera) + topic, kind, tree)

    def _frame_of(self, camera: str) -> str:
        """The camera's optical frame, as it was named or as it is called by itself."""
        named = self._frames.get(camera, self._frames.get(""))
        return topics.optical_frame(camera) if named is None else named

    def _publish_health(self, health: Health) -> None:
        for topic, kind, tree in topics.health_entries(health, time.time_ns()):
            if topic == topics.DIAGNOSTICS:
                tree["status"][0] |= {"level": level_of(health), "hardware_id": NODE}
                self._publish(topic, kind, tree)

    def _publish(self, topic: str, kind: str, tree: dict[str, Any]) -> None:
        publisher = self._publishers.get(topic)
        if publisher is None:
            publisher = self._node.create_publisher(message(kind), topic, 1)
            self._publishers[topic] = publisher
        publisher.publish_tree(tree)

    def _targets_topic(self, topic: str) -> TargetsTopic:
        if topic not in self._targets:
            self._targets[topic] = TargetsTopic(self._node, topic)
        return self._targets[topic]

    def _prefix(self, camera: str) -> str:
        """What stands before a camera's topics, below the namespace."""
        return topics.camera_prefix("", camera, is_alone=self._is_alone).lstrip("/")

    def _take_commands(self, prefix: str, camera: str | None) -> None:
        """Prompt and reset of a camera, or of all."""
        whose = {} if camera is None else {"camera": camera}
        set_prompt, reset = partial(self._set_prompt, whose), partial(self._reset, whose)
        text, trigger = message("std_msgs/String"), service("std_srvs/Trigger")
        self._node.create_subscription(text, f"{prefix}prompt", set_prompt, 1)
        self._node.create_service(trigger, f"{prefix}reset", reset)

    def _set_prompt(self, whose: Command, text: Any) -> None:
        command = {"cmd": "set_prompt", "prompt": text.data} | whose
        answer = self._commands.submit(command, ANSWER_S)
        if not answer["ok"]:
            logger.warning("prompt from ROS is refused: %s", answer["error"])

    def _reset(self, whose: Command, request: Any, response: Any) -> Any:
        answer = self._commands.submit({"cmd": "reset"} | whose, ANSWER_S)
        response.success, response.message = answer["ok"], str(answer.get("error", ""))
        return response


def level_of(health: Health) -> int:
    """A level of diagnostic_msgs: 0 ok, 1 warning, 2 error."""
    states = set(health.source_state.values())
    if (states and states <= {"lost", "ended"}) or health.maps not in (OK, PAUSED):
        return 2
    others = (state for name, state in health.sinks.items() if name != RosSink.name)
    return int(bool(health.trouble) or any(state != "ok" for state in others))


def map_image(attention: Attention, encoding: str) -> dict[str, Any]:
    """The map as sensor_msgs/Image without header: mono8 scaled to its peak, or 32FC1 as it is."""
    density = attention.density
    cells = density.astype("<f4")
    if encoding == "mono8":
        cells = np.rint(density * (255 / density.max())).astype(np.uint8)
    height, width = cells.shape
    what = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0}
    return what | {"step": cells.strides[0], "data": cells.tobytes()}
