"""rclpy.callback_groups: what may run at the same time under a MultiThreadedExecutor."""

from __future__ import annotations

import threading


class CallbackGroup:
    """What entities belong to."""

    def enter(self) -> bool:
        """Whether a callback of it may begin; each True is followed by `leave`."""
        return True

    def leave(self) -> None:
        """A callback has ended."""


class ReentrantCallbackGroup(CallbackGroup):
    """All at once."""


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """One at a time."""

    def __init__(self) -> None:
        self._is_free = threading.Lock()

    def enter(self) -> bool:
        """Whether none runs."""
        return self._is_free.acquire(blocking=False)

    def leave(self) -> None:
        """The next one may come."""
        self._is_free.release()
