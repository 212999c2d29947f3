"""rclpy.clock; simulated time is not covered."""

from __future__ import annotations

import time

from aam_edge.ros.rclpy.clock_type import ClockType
from aam_edge.ros.rclpy.duration import Duration
from aam_edge.ros.rclpy.time import Time

__all__ = ["Clock", "ClockType", "ROSClock"]


class Clock:
    """Shows system time, or steady time."""

    def __init__(self, *, clock_type: ClockType = ClockType.SYSTEM_TIME):
        self._clock_type = clock_type

    @property
    def clock_type(self) -> ClockType:
        """Which time it shows."""
        return self._clock_type

    def now(self) -> Time:
        """The time."""
        is_steady = self._clock_type is ClockType.STEADY_TIME
        ns = time.monotonic_ns() if is_steady else time.time_ns()
        return Time(nanoseconds=ns, clock_type=self._clock_type)

    def sleep_for(self, rel_time: Duration) -> bool:
        """Waits."""
        time.sleep(max(0, rel_time.nanoseconds) / 1e9)
        return True

    def sleep_until(self, until: Time) -> bool:
        """Waits for a point in time of this clock."""
        return self.sleep_for(until - self.now())


class ROSClock(Clock):
    """The clock of a node."""

    def __init__(self) -> None:
        super().__init__(clock_type=ClockType.ROS_TIME)
