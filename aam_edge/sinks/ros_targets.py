"""The topic of targets: Detection2DArray, or JSON in a String where the bridge has no vision_msgs.

A bridge does not say that it lacks a type; the check of `aam_edge.ros.typecheck` finds out within
seconds of each connection, and the topic then changes its type.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from aam_edge.messages import Attention
from aam_edge.ros.dialect import Dialect
from aam_edge.ros.messages import message
from aam_edge.ros.rclpy.node import Node
from aam_edge.ros.rclpy.publisher import Publisher

logger = logging.getLogger(__name__)
DETECTIONS = "vision_msgs/msg/Detection2DArray"
STRING = "std_msgs/msg/String"
TARGET_FIELDS = ("id", "x", "y", "sigma_px", "score", "yaw", "pitch")


class TargetsTopic:
    """One such topic; used by the node's thread alone."""

    def __init__(self, node: Node, topic: str) -> None:
        self.is_json = False
        self._node, self._topic = node, topic
        self._bridge = node.context.bridge
        self._connection = 0
        self._publisher: Publisher | None = None

    def publish(self, tree: dict[str, Any], attention: Attention) -> None:
        """Sends the targets in the form that the bridge takes.

        Args:
            tree: a Detection2DArray in the names of ROS 2.
            attention: where they come from.
        """
        publisher = self._chosen()
        if self.is_json:
            text = targets_text(attention, tree["header"]["frame_id"])
            publisher.publish(message(STRING)(data=text))
        else:
            publisher.publish_tree(tree)

    def _chosen(self) -> Publisher:
        """The publisher of the form that fits; each new connection is tried with detections."""
        if self._publisher is None or self._connection != self._bridge.connections:
            self._connection = self._bridge.connections
            # A bridge without rosapi cannot be asked what its detections look like.
            return self._begin(self._bridge.dialect is Dialect.UNKNOWN)
        if not self.is_json and self._publisher.topic_name in self._bridge.troubles:
            return self._begin(True)
        return self._publisher

    def _begin(self, is_json: bool) -> Publisher:
        if self._publisher is not None:
            if is_json is self.is_json:
                return self._publisher
            self._node.destroy_publisher(self._publisher)
        if is_json:
            logger.warning("targets go to ROS as JSON in std_msgs/String")
        self.is_json = is_json
        kind = message(STRING if is_json else DETECTIONS)
        self._publisher = self._node.create_publisher(kind, self._topic, 1)
        return self._publisher


def targets_text(attention: Attention, frame_id: str) -> str:
    """The targets as CONTRACT 2 has them, in JSON."""
    targets = [
        {name: getattr(target, name) for name in TARGET_FIELDS} for target in attention.targets
    ]
    what = {"capture_ns": attention.capture_ns, "frame_id": frame_id, "camera": attention.camera}
    return json.dumps(what | {"prompt": attention.prompt, "targets": targets})
