"""rclpy.signals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import Any


class SignalHandlerOptions(IntEnum):
    """Which signals end a context."""

    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


_previous: dict[int, Any] = {}


def install_signal_handlers(options: SignalHandlerOptions, end: Callable[[], None]) -> None:
    """Lets signals call `end`; SIGINT raises KeyboardInterrupt after that. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return

    def handle(number: int, frame: FrameType | None) -> None:
        end()
        previous = _previous.get(number)
        if callable(previous):
            previous(number, frame)

    chosen = {signal.SIGINT: options & 1, signal.SIGTERM: options & 2}
    for number, is_chosen in chosen.items():
        if is_chosen and number not in _previous:
            _previous[number] = signal.signal(number, handle)


def uninstall_signal_handlers() -> None:
    """Puts back what was there."""
    if threading.current_thread() is threading.main_thread():
        while _previous:
            number, previous = _previous.popitem()
            signal.signal(number, previous)
