"""rclpy.subscription."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aam_edge.ros.dialect import fill
from aam_edge.ros.rclpy.callback_groups import CallbackGroup
from aam_edge.ros.rclpy.context import Context
from aam_edge.ros.rclpy.entity import Inbox, Owner, checked
from aam_edge.ros.rclpy.logging import get_logger
from aam_edge.ros.rclpy.qos import QoSProfile, waiting_room
from aam_edge.ros.session import Tree


class Subscription(Inbox):
    """Gets messages; the oldest goes when the callback does not keep up."""

    def __init__(
        self,
        owner: Owner,
        context: Context,
        msg_type: type[Any],
        topic: str,
        callback: Callable[[Any], None],
        qos_profile: QoSProfile,
        group: CallbackGroup,
    ):
        super().__init__(owner, group, waiting_room(qos_profile))
        self.msg_type, self.topic_name, self.qos_profile = msg_type, topic, qos_profile
        self.callback = checked(callback, 1)
        self._context = context
        self._was_wrong = False
        context.bridge.subscribe(topic, msg_type.NAME, self._arrived)

    @property
    def topic(self) -> str:
        """The topic's whole name."""
        return self.topic_name

    def _arrived(self, tree: Tree) -> None:
        self.put(lambda: self._call(tree))

    def _call(self, tree: Tree) -> None:
        """Decoded here and not on arrival, so that what is overwritten costs nothing."""
        try:
            msg = fill(self.msg_type, tree)
        except ValueError as problem:
            if not self._was_wrong:
                self._was_wrong = True
                get_logger("rosbridge").error(f"{self.topic_name}: {problem}")
            return
        self.callback(msg)

    def destroy(self) -> None:
        """Ends it."""
        if not self._is_destroyed and self._context.ok():
            self._context.bridge.unsubscribe(self.topic_name, self._arrived)
        super().destroy()
