"""rclpy.duration."""

from __future__ import annotations

from functools import total_ordering
from typing import Any

from aam_edge.ros.messages import message

S_NS = 1_000_000_000


@total_ordering
class Duration:
    """A span of time, whole nanoseconds."""

    def __init__(self, *, seconds: float = 0, nanoseconds: float = 0):
        self._ns = int(seconds * S_NS) + int(nanoseconds)

    @property
    def nanoseconds(self) -> int:
        """The whole of it."""
        return self._ns

    def to_msg(self) -> Any:
        """As builtin_interfaces/Duration."""
        sec, nanosec = divmod(self._ns, S_NS)
        return message("builtin_interfaces/msg/Duration")(sec=sec, nanosec=nanosec)

    @classmethod
    def from_msg(cls, msg: Any) -> Duration:
        """From builtin_interfaces/Duration."""
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec)

    def __repr__(self) -> str:
        return f"Duration(nanoseconds={self._ns})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self._ns == other._ns

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Duration):
            return NotImplemented
        return self._ns < other._ns

    def __hash__(self) -> int:
        return hash(self._ns)
