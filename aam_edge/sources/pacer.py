"""When a source that is no camera gives its pictures out.

At pace `real` an item is given out at its own time, against a deadline on the monotonic clock that
is counted from the start, so that lateness does not add up. At pace `every` nothing waits. The
stamps are the same in both: the UNIX time of the start plus the item's own time.
"""

from __future__ import annotations

import threading
import time
from typing import Literal

from aam_edge.sources.mailbox import Ended


class Pacer:
    """Gives each item its time; `interrupt` is for any thread, the rest for the source's own."""

    def __init__(self, pace: Literal["real", "every"]):
        self._waits = pace == "real"
        self._stopped = threading.Event()
        self.start()

    def start(self) -> None:
        """From now on times count from now."""
        self._start_ns = time.time_ns()
        self._start_monotonic_ns = time.monotonic_ns()

    def stamp(self, offset_ns: int) -> int:
        """UNIX time of what lies so far behind the start."""
        return self._start_ns + offset_ns

    def wait_for(self, offset_ns: int) -> None:
        """Waits until that time has come; raises Ended once interrupted."""
        rest_ns = self._start_monotonic_ns + offset_ns - time.monotonic_ns() if self._waits else 0
        if self._stopped.wait(max(0, rest_ns) / 1e9):
            raise Ended

    def interrupt(self) -> None:
        """Ends every wait, now and later."""
        self._stopped.set()
