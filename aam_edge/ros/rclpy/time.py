"""rclpy.time."""

from __future__ import annotations

from functools import total_ordering
from typing import Any

from aam_edge.ros.messages import message
from aam_edge.ros.rclpy.clock_type import ClockType
from aam_edge.ros.rclpy.duration import S_NS, Duration


@total_ordering
class Time:
    """A point in time of one clock; points of other clocks are refused."""

    def __init__(
        self,
        *,
        seconds: float = 0,
        nanoseconds: float = 0,
        clock_type: ClockType = ClockType.SYSTEM_TIME,
    ):
        if seconds < 0 or nanoseconds < 0:
            raise ValueError("Seconds and nanoseconds must not be negative")
        self._ns = int(seconds * S_NS) + int(nanoseconds)
        self._clock_type = clock_type

    @property
    def nanoseconds(self) -> int:
        """Since the clock's beginning."""
        return self._ns

    @property
    def clock_type(self) -> ClockType:
        """The clock."""
        return self._clock_type

    def seconds_nanoseconds(self) -> tuple[int, int]:
        """Whole seconds, and the rest."""
        return divmod(self._ns, S_NS)

    def to_msg(self) -> Any:
        """As builtin_interfaces/Time."""
        sec, nanosec = self.seconds_nanoseconds()
        return message("builtin_interfaces/msg/Time")(sec=sec, nanosec=nanosec)

    @classmethod
    def from_msg(cls, msg: Any, clock_type: ClockType = ClockType.ROS_TIME) -> Time:
        """From builtin_interfaces/Time."""
        return cls(seconds=msg.sec, nanoseconds=msg.nanosec, clock_type=clock_type)

    def __repr__(self) -> str:
        return f"Time(nanoseconds={self._ns}, clock_type={self._clock_type.name})"

    def __add__(self, other: object) -> Time:
        if not isinstance(other, Duration):
            return NotImplemented
        return Time(nanoseconds=self._ns + other.nanoseconds, clock_type=self._clock_type)

    def __sub__(self, other: object) -> Any:
        if isinstance(other, Time):
            self._check(other)
            return Duration(nanoseconds=self._ns - other._ns)
        if isinstance(other, Duration):
            return Time(nanoseconds=self._ns - other.nanoseconds, clock_type=self._clock_type)
        return NotImplemented

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Time) and self._check(other) and self._ns == other._ns

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Time):
            return NotImplemented
        self._check(other)
        return self._ns < other._ns

    def __hash__(self) -> int:
        return hash((self._ns, self._clock_type))

    def _check(self, other: Time) -> bool:
        if self._clock_type != other._clock_type:
            raise TypeError("Can't compare times with different clock types")
        return True
