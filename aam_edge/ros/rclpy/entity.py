"""What an executor runs callbacks for: subscriptions, timers, services, clients and guards."""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from aam_edge.ros.rclpy.callback_groups import CallbackGroup
from aam_edge.ros.rclpy.exceptions import InvalidHandle, NotCovered

Thunk = Callable[[], None]


class Owner(Protocol):
    """What an entity needs of its node."""

    def wake(self) -> None:
        """Tells the executor that there is work."""


class Entity:
    """Waits for work; `take` gives one piece of it to an executor."""

    def __init__(self, owner: Owner, group: CallbackGroup):
        self.callback_group = group
        self._owner = owner
        self._is_destroyed = False

    def take(self, now_ns: int) -> Thunk | None:
        """The callback with what it gets, None if nothing is there."""
        raise NotImplementedError

    def due_ns(self) -> int | None:
        """When there will be work by itself, monotonic; None if that is not known."""
        return None

    def destroy(self) -> None:
        """Ends it; twice is fine."""
        self._is_destroyed = True

    def check(self) -> None:
        """InvalidHandle after its end."""
        if self._is_destroyed:
            raise InvalidHandle(f"cannot use {type(self).__name__} because it was destroyed")


class Inbox(Entity):
    """An entity whose work comes from outside."""

    def __init__(self, owner: Owner, group: CallbackGroup, room: int):
        super().__init__(owner, group)
        self._work: deque[Thunk] = deque(maxlen=room)
        self._lock = threading.Lock()
        self.dropped = 0
        """Pieces that were overwritten by newer ones."""

    def put(self, thunk: Thunk) -> None:
        """Adds a piece from any thread; the oldest goes when there is no room."""
        with self._lock:
            self.dropped += len(self._work) == self._work.maxlen
            self._work.append(thunk)
        self._owner.wake()

    def take(self, now_ns: int) -> Thunk | None:
        """The oldest piece."""
        with self._lock:
            return self._work.popleft() if self._work and not self._is_destroyed else None


class GuardCondition(Inbox):
    """Calls back after it was triggered, once however often."""

    def __init__(self, owner: Owner, callback: Thunk, group: CallbackGroup):
        super().__init__(owner, group, 1)
        self._callback = checked(callback, 0)

    def trigger(self) -> None:
        """Asks for the callback; from any thread."""
        self.check()
        self.put(self._callback)


def checked(callback: Any, arguments: int) -> Any:
    """A callback that takes this number of arguments.

    Raises:
        RuntimeError: it is no callable.
        NotCovered: it is a coroutine, or wants more (rclpy's MessageInfo and TimerInfo).
    """
    if not callable(callback):
        raise RuntimeError("Failed to create: callback is not callable")
    if inspect.iscoroutinefunction(callback):
        raise NotCovered("coroutines as callbacks")
    try:
        inspect.signature(callback).bind(*[None] * arguments)
    except TypeError:
        raise NotCovered(f"callbacks that take other than {arguments} arguments") from None
    except ValueError:  # a builtin that does not tell
        pass
    return callback
