"""rclpy.executors: who runs the callbacks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future as PoolFuture
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aam_edge.ros.rclpy.context import Context, get_default_context
from aam_edge.ros.rclpy.entity import Entity, Thunk
from aam_edge.ros.rclpy.task import Future

if TYPE_CHECKING:
    from aam_edge.ros.rclpy.node import Node

FOREVER_S = 3600.0
NAP_S = 0.2
"""A signal that another thread raised is handled between two of these; no lock wakes for it."""
POOL_SIZE = 2


class ExternalShutdownException(Exception):
    """A signal ended the context."""

    def __init__(self) -> None:
        super().__init__("The global context has been shutdown")


class ShutdownException(Exception):
    """The executor was shut down."""


class TimeoutException(Exception):
    """Nothing came in time."""


class Executor:
    """Runs callbacks of its nodes in the thread that spins, one after the other."""

    def __init__(self, *, context: Context | None = None):
        self.context = context or get_default_context()
        self._nodes: list[Node] = []
        self._changed = threading.Condition()
        self._is_woken = self._is_shutdown = False
        self._last: Entity | None = None
        self._tasks: list[Thunk] = []
        self.context.on_shutdown(self.wake)

    def add_node(self, node: Node) -> bool:
        """Takes a node; False if it is here already."""
        with self._changed:
            if node in self._nodes:
                return False
            self._nodes.append(node)
        node.executor = self
        self.wake()
        return True

    def remove_node(self, node: Node) -> None:
        """Lets a node go."""
        with self._changed:
            if node in self._nodes:
                self._nodes.remove(node)
        node.executor = None

    def get_nodes(self) -> list[Node]:
        """Its nodes."""
        return list(self._nodes)

    def wake(self) -> None:
        """Makes a spin that waits look again; from any thread."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def create_task(self, callback: Callable[..., Any], *args: Any, **named: Any) -> Future:
        """Runs a function in the next spin; coroutines are not covered."""
        future = Future()

        def run() -> None:
            try:
                future.set_result(callback(*args, **named))
            except Exception as problem:  # noqa: BLE001  it belongs to who holds the future
                future.set_exception(problem)

        with self._changed:
            self._tasks.append(run)
        self.wake()
        return future

    def spin(self) -> None:
        """Runs callbacks until the end of executor or context."""
        while self.context.ok() and not self._is_shutdown:
            self.spin_once()
        self._raise_if_signalled()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Runs one callback, or waits that long for one; its exception comes out here."""
        self._raise_if_signalled()
        if self._is_shutdown:
            raise ShutdownException
        found = self._wait(timeout_sec)
        if found is not None:
            self._run(*found)
        self._raise_if_signalled()

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Runs callbacks until the future is done or the time is up."""
        future.add_done_callback(lambda _: self.wake())
        deadline_s = None if timeout_sec is None else time.monotonic() + timeout_sec
        while self.context.ok() and not future.done() and not self._is_shutdown:
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return
            self.spin_once(left_s)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Ends it; whether that was in time."""
        self._is_shutdown = True
        self.wake()
        return True

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *problem: object) -> None:
        self.shutdown()

    def _run(self, entity: Entity | None, thunk: Thunk) -> None:
        try:
            thunk()
        finally:
            if entity is not None:
                entity.callback_group.leave()

    def _raise_if_signalled(self) -> None:
        if self.context.was_signalled:
            raise ExternalShutdownException

    def _wait(self, timeout_s: float | None) -> tuple[Entity | None, Thunk] | None:
        """The next piece of work; None when the time is up, or the end has come."""
        deadline_s = time.monotonic() + (FOREVER_S if timeout_s is None else max(0.0, timeout_s))
        while True:
            with self._changed:
                self._is_woken = False
            found = self._take()
            left_s = deadline_s - time.monotonic()
            if found is not None or left_s <= 0 or self._is_shutdown or not self.context.ok():
                return found
            due_ns = [ns for e in self._entities() if (ns := e.due_ns()) is not None]
            if due_ns:
                left_s = min(left_s, (min(due_ns) - time.monotonic_ns()) / 1e9)
            with self._changed:
                self._changed.wait_for(lambda: self._is_woken, min(max(0.0, left_s), NAP_S))
            if self._has_news():
                return None

    def _has_news(self) -> bool:
        """Whether who spins must look at something else than work."""
        return False

    def _entities(self) -> list[Entity]:
        with self._changed:
            nodes = list(self._nodes)
        return [entity for node in nodes for entity in node.entities()]

    def _take(self) -> tuple[Entity | None, Thunk] | None:
        """One piece of work, the entities taking turns."""
        with self._changed:
            if self._tasks:
                return None, self._tasks.pop(0)
        entities, now_ns = self._entities(), time.monotonic_ns()
        start = entities.index(self._last) + 1 if self._last in entities else 0
        for entity in entities[start:] + entities[:start]:
            if not entity.callback_group.enter():
                continue
            thunk = entity.take(now_ns)
            if thunk is not None:
                self._last = entity
                return entity, thunk
            entity.callback_group.leave()
        return None


class SingleThreadedExecutor(Executor):
    """The usual one."""


class MultiThreadedExecutor(Executor):
    """Runs callbacks in threads, as their groups allow."""

    def __init__(self, num_threads: int | None = None, *, context: Context | None = None):
        super().__init__(context=context)
        size = max(POOL_SIZE, num_threads or 0)
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="aam-ros-callback")
        self._running: list[PoolFuture[None]] = []
        self._free = threading.BoundedSemaphore(size)

    def _run(self, entity: Entity | None, thunk: Thunk) -> None:
        """Hands it to a thread; a failure of an earlier one comes out here."""
        self._free.acquire()
        future = self._pool.submit(super()._run, entity, thunk)
        future.add_done_callback(self._ended)
        self._running.append(future)

    def _ended(self, future: PoolFuture[None]) -> None:
        self._free.release()
        self.wake()  # its group is free, and who spins should see its failure

    def _has_news(self) -> bool:
        return any(future.done() for future in self._running)

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """As above."""
        super().spin_once(timeout_sec)
        done = [future for future in self._running if future.done()]
        self._running = [future for future in self._running if not future.done()]
        for future in done:
            future.result()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """As above; callbacks under way are waited for."""
        super().shutdown()
        self._pool.shutdown(wait=timeout_sec is None or timeout_sec > 0)
        return True
