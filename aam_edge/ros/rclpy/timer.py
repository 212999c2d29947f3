"""rclpy.timer."""

from __future__ import annotations

import time
from collections.abc import Callable

from aam_edge.ros.rclpy.callback_groups import CallbackGroup
from aam_edge.ros.rclpy.clock import Clock
from aam_edge.ros.rclpy.entity import Entity, Owner, Thunk, checked
from aam_edge.ros.rclpy.exceptions import NotInitializedException


class Timer(Entity):
    """Calls back at an even pace; ticks that were missed count as one."""

    def __init__(
        self,
        owner: Owner,
        callback: Callable[[], None],
        period_ns: int,
        clock: Clock,
        group: CallbackGroup,
        autostart: bool = True,
    ):
        super().__init__(owner, group)
        self.callback = checked(callback, 0)
        self.clock = clock
        self.timer_period_ns = period_ns
        self._last_ns = time.monotonic_ns()
        self._next_ns = self._last_ns + period_ns
        self._is_canceled = not autostart

    def take(self, now_ns: int) -> Thunk | None:
        """The callback, if it is due."""
        if self._is_destroyed or self._is_canceled or now_ns < self._next_ns:
            return None
        self._last_ns = now_ns
        # On phase: the first tick that is still to come.
        missed = (now_ns - self._next_ns) // self.timer_period_ns if self.timer_period_ns else 0
        self._next_ns += (missed + 1) * self.timer_period_ns
        callback: Thunk = self.callback
        return callback

    def due_ns(self) -> int | None:
        """The next tick."""
        return None if self._is_canceled or self._is_destroyed else self._next_ns

    def cancel(self) -> None:
        """Stops it until `reset`."""
        self.check()
        self._is_canceled = True

    def is_canceled(self) -> bool:
        """Whether it is stopped."""
        return self._is_canceled

    def reset(self) -> None:
        """Starts it anew from now."""
        self.check()
        self._is_canceled = False
        self._last_ns = time.monotonic_ns()
        self._next_ns = self._last_ns + self.timer_period_ns
        self._owner.wake()

    def is_ready(self) -> bool:
        """Whether a tick is due."""
        return not self._is_canceled and time.monotonic_ns() >= self._next_ns

    def time_since_last_call(self) -> int:
        """Nanoseconds."""
        return time.monotonic_ns() - self._last_ns

    def time_until_next_call(self) -> int | None:
        """Nanoseconds, negative when it is late; None if it is stopped."""
        return None if self._is_canceled else self._next_ns - time.monotonic_ns()


class Rate:
    """Sleeps until the next tick; the ticks keep their phase."""

    def __init__(self, period_s: float, is_ok: Callable[[], bool]):
        self._period_s, self._is_ok = period_s, is_ok
        self._next_s = time.monotonic() + period_s
        self._is_destroyed = False

    def sleep(self) -> None:
        """Waits; raises if the context has ended."""
        while not self._is_destroyed and (left_s := self._next_s - time.monotonic()) > 0:
            if not self._is_ok():
                raise NotInitializedException("the context was shut down")
            time.sleep(min(left_s, 0.05))
        late = max(0.0, time.monotonic() - self._next_s)
        self._next_s += (late // self._period_s + 1) * self._period_s

    def destroy(self) -> None:
        """Wakes who sleeps."""
        self._is_destroyed = True
