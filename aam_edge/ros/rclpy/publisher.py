"""rclpy.publisher."""

from __future__ import annotations

from typing import Any

from aam_edge.ros.dialect import encode, encode_tree
from aam_edge.ros.rclpy.callback_groups import CallbackGroup
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.entity import Entity, Owner, Thunk
from aam_edge.ros.rclpy.exceptions import InvalidHandle, NotCovered
from aam_edge.ros.rclpy.qos import DurabilityPolicy, QoSProfile, waiting_room
from aam_edge.ros.rosapi import ask


class Publisher(Entity):
    """Sends messages; what cannot leave at once is dropped and counted, never kept."""

    def __init__(
        self,
        owner: Owner,
        context: Context,
        msg_type: type[Any],
        topic: str,
        qos_profile: QoSProfile,
        group: CallbackGroup,
    ):
        super().__init__(owner, group)
        self.msg_type, self.topic_name, self.qos_profile = msg_type, topic, qos_profile
        self.dropped = 0
        """Not rclpy's: messages that found no bridge, or one that was behind."""
        self._context = context
        latch = qos_profile.durability is DurabilityPolicy.TRANSIENT_LOCAL
        size = waiting_room(qos_profile)
        context.bridge.advertise(topic, msg_type.NAME, latch=latch, queue_size=size)

    @property
    def topic(self) -> str:
        """The topic's whole name."""
        return self.topic_name

    def publish(self, msg: Any) -> None:
        """Sends a message now.

        Raises:
            TypeError: it is no message of this type, or a field holds something else.
            InvalidHandle: after the end of publisher or context.
        """
        self.check()
        if isinstance(msg, bytes):
            raise NotCovered("serialized messages")
        if not isinstance(msg, self.msg_type):
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        if not self._context.ok():
            raise InvalidHandle("cannot publish because the context was shut down")
        bridge = self._context.bridge
        self.dropped += not bridge.publish(self.topic_name, lambda dialect: encode(msg, dialect))

    def publish_tree(self, tree: dict[str, Any]) -> None:
        """Not rclpy's: sends a message given as fields in the names of ROS 2, others default."""
        kind, bridge = self.msg_type, self._context.bridge
        sent = bridge.publish(self.topic_name, lambda dialect: encode_tree(kind, tree, dialect))
        self.dropped += not sent

    def get_subscription_count(self) -> int:
        """How many listen, as rosapi says; RuntimeError if it does not."""
        self.check()
        answer = ask(self._context.bridge, "/rosapi/subscribers", {"topic": self.topic_name})
        return len(answer["subscribers"])

    def assert_liveliness(self) -> None:
        """Not covered."""
        raise NotCovered("liveliness")

    def wait_for_all_acked(self, timeout: object = None) -> bool:
        """Not covered."""
        raise NotCovered("wait_for_all_acked")

    def take(self, now_ns: int) -> Thunk | None:
        """A publisher has no callback."""
        return None

    def destroy(self) -> None:
        """Takes the topic back."""
        if not self._is_destroyed and self._context.ok():
            self._context.bridge.unadvertise(self.topic_name)
        super().destroy()
