"""SIGINT and SIGTERM: asked once, gone within a second, whatever the program is in the middle of.

    start, imports     nothing is open yet: the process ends at once (`leave_at_once`)
    opening            sockets and files are opened to the end of the step; the network and cameras,
                       which may take their time, are interrupted
    running            the loop ends after its frame, and all is closed
    stuck              Python calls a handler in the main thread alone, which may be in the network
                       or in a driver. The signal also wakes a thread, which waits for the loop a
                       little, then ends the recording and the process
    the end            signals are ignored, and the process ends without the interpreter's own end

Only the first milliseconds, in which the interpreter itself starts, are not ours: SIGTERM then
kills, and leaves nothing behind either.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Protocol

logger = logging.getLogger(__name__)

NUMBERS = (signal.SIGINT, signal.SIGTERM)
LOOP_S = 0.5
"""For the loop to end after its frame."""
CLOSE_S = 2.0
"""For everything to be closed."""


def leave(code: int) -> None:
    """Ends the process now that all of ours is closed.

    The interpreter's own end takes libraries apart for half a second, and has threads that are
    stuck in a driver cut off in the middle of C++, which aborts.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


class Stoppable(Protocol):
    """What `Runtime` is to us."""

    is_interruptible: bool
    is_leaving: threading.Event

    def rescue(self) -> None:
        """Saves what can be saved while the loop is stuck."""


def leave_at_once() -> None:
    """From now on a signal ends the process with 0: for as long as nothing is open."""
    for number in NUMBERS:
        signal.signal(number, lambda number, frame: os._exit(0))


def as_usual() -> None:
    """What Python does by itself: SIGINT is an exception, SIGTERM the end."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore() -> None:
    """For the end: the interpreter would take its handlers back, and a late signal would kill."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


class Stopping:
    """Signals set `stop` while the `with` lasts; handlers are as before afterwards."""

    def __init__(self, runtime: Stoppable, stop: threading.Event) -> None:
        self._runtime, self._stop = runtime, stop
        self._is_closed = threading.Event()

    def __enter__(self) -> Stopping:
        ours, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._woken = ours
        self._before_fd = signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._ask) for number in NUMBERS}
        threading.Thread(target=self._wait, name="aam-stopping", daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._is_closed.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before_fd)
        self._wakes.close()  # ends the thread

    def _ask(self, number: int, frame: FrameType | None) -> None:
        """The handler, in the main thread."""
        is_first = not self._stop.is_set()
        self._stop.set()
        if is_first and self._runtime.is_interruptible:
            raise KeyboardInterrupt

    def _wait(self) -> None:
        """The thread's body."""
        with self._woken:
            while number := self._woken.recv(1):
                if number[0] in NUMBERS:
                    break
            else:
                return
            if not self._runtime.is_leaving.wait(LOOP_S):
                self._runtime.rescue()
            elif self._is_closed.wait(CLOSE_S):
                return
            if not self._is_closed.is_set():
                logger.warning("what runs does not come back: left without it")
                os._exit(0)
