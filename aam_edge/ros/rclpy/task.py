"""rclpy.task; coroutines are not covered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Future:
    """What will be known later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._callbacks: list[Callable[[Future], None]] = []

    def done(self) -> bool:
        """Whether it is known, or will never be."""
        return self._done

    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled

    def cancel(self) -> None:
        """Gives it up."""
        self._finish(cancelled=True)

    def result(self) -> Any:
        """The result, None if there is none yet; raises the exception if there is one."""
        if self._exception is not None:
            raise self._exception
        return self._result

    def exception(self) -> BaseException | None:
        """Why there is no result."""
        return self._exception

    def set_result(self, result: Any) -> None:
        """Makes it known."""
        self._finish(result=result)

    def set_exception(self, exception: BaseException) -> None:
        """Says why it will not be."""
        self._finish(exception=exception)

    def add_done_callback(self, callback: Callable[[Future], None]) -> None:
        """Calls back once it is done, at once if it is."""
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def _finish(
        self,
        result: Any = None,
        exception: BaseException | None = None,
        cancelled: bool = False,
    ) -> None:
        with self._lock:
            if self._done:
                return
            self._result, self._exception, self._cancelled = result, exception, cancelled
            self._done = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
