"""rclpy.context: here also the connection to the bridge, which all nodes of a context share."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

from aam_edge.ros.bridge import Bridge
from aam_edge.ros.rclpy.arguments import Arguments, parse
from aam_edge.ros.rclpy.exceptions import NotInitializedException
from aam_edge.ros.transport import DEFAULT_URL


class Context:
    """From `init` to `shutdown`; nodes live in between."""

    def __init__(self, url: str = DEFAULT_URL, *, retry_max_s: float = 5.0):
        """`url` and `retry_max_s` are not rclpy's: where the bridge is, how often it is tried."""
        self.url = url
        self.arguments = Arguments()
        self.was_signalled = False
        """Whether a signal ended it."""
        self._retry_max_s = retry_max_s
        self._lock = threading.RLock()
        self._bridge: Bridge | None = None
        self._is_ok: bool | None = None
        self._at_end: list[Callable[[], None]] = []

    def init(self, args: Sequence[str] | None = None, *, domain_id: int | None = None) -> None:
        """Begins; once. `domain_id` is for the machine that the bridge runs on."""
        with self._lock:
            if self._is_ok is not None:
                raise RuntimeError("Context.init() must only be called once")
            self.arguments = parse(sys.argv if args is None else args)
            self._is_ok = True

    def ok(self) -> bool:
        """Whether it has begun and not ended."""
        return bool(self._is_ok)

    @property
    def bridge(self) -> Bridge:
        """The connection; made when the first node wants it."""
        with self._lock:
            if not self._is_ok:
                raise NotInitializedException("rclpy.init() has not been called")
            if self._bridge is None:
                self._bridge = Bridge(self.url, retry_max_s=self._retry_max_s)
            return self._bridge

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        """Calls back at the end."""
        with self._lock:
            self._at_end.append(callback)

    def shutdown(self) -> None:
        """Ends it and the connection.

        Raises:
            RuntimeError: it has not begun, or has ended already.
        """
        if not self.try_shutdown():
            raise RuntimeError("Context must be initialized before it can be shutdown")

    def try_shutdown(self) -> bool:
        """The same without raising; whether there was something to end."""
        with self._lock:
            if not self._is_ok:
                return False
            self._is_ok = False
            bridge, callbacks = self._bridge, list(self._at_end)
        for callback in callbacks:
            callback()
        if bridge is not None:
            bridge.close()
        return True

    def end_by_signal(self) -> None:
        """What a signal does, in the middle of whatever runs: all locks here may be taken twice."""
        self.was_signalled = True
        self.try_shutdown()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *problem: object) -> None:
        self.try_shutdown()


_default: Context | None = None
_default_url = DEFAULT_URL
_default_lock = threading.Lock()


def get_default_context(*, shutting_down: bool = False) -> Context:
    """The context that is meant where none is given; a new one after its end."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Context(_default_url)
        context = _default
        if shutting_down:
            _default = None
        return context


def set_default_url(url: str) -> None:
    """Where the bridge of the default context is, from its next `init` on."""
    global _default, _default_url
    with _default_lock:
        _default_url = url
        if _default is None or not _default.ok():
            _default = None
