"""One browser that looks: when it gets its next picture."""

from __future__ import annotations

import asyncio
import math

OTHERS_FPS = 2.0
"""How often a browser gets small pictures of the cameras that it does not look at."""
UNSEEN_AT_MOST = 2
"""Pictures on the way to one browser. The kernel alone would take megabytes, seconds late."""


class Pace:
    """The bookkeeping of one browser: at most so many pictures a second, and none on a full way.

    Times are seconds of any monotonic clock, given by the caller.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._next_s = -math.inf
        self._has_new = False
        self._is_sending = False
        self._unseen = 0
        self.dropped = 0
        """Pictures whose time had come, not sent because this browser had not seen earlier ones."""

    def offer(self, now_s: float) -> None:
        """There is a picture that this browser has not got."""
        self._has_new = True
        if self._is_busy and now_s >= self._next_s:
            self.dropped += 1
            self._advance(now_s)

    def delay_s(self, now_s: float) -> float | None:
        """Seconds until the newest picture may go, 0 for now; None if none waits for its time."""
        if not self._has_new or self._is_busy:
            return None
        return max(0.0, self._next_s - now_s)

    def begin(self, now_s: float) -> None:
        """The newest picture goes out now."""
        self._has_new, self._is_sending = False, True
        self._unseen += 1
        self._advance(now_s)

    def end(self) -> None:
        """The operating system has taken the picture."""
        self._is_sending = False

    def seen(self) -> None:
        """The browser has drawn a picture."""
        self._unseen = max(0, self._unseen - 1)

    @property
    def _is_busy(self) -> bool:
        return self._is_sending or self._unseen >= UNSEEN_AT_MOST

    def _advance(self, now_s: float) -> None:
        self._next_s = max(self._next_s + self._period_s, now_s)


class Viewer:
    """What the server knows of one connected browser. Lives in the page's thread."""

    def __init__(self, fps: float) -> None:
        self.pace = Pace(fps)
        self.others = Pace(OTHERS_FPS)
        """Of the small pictures of the other cameras."""
        self.camera: str | None = None
        """None is the first camera."""
        self.index = 0
        self.health: str | None = None
        """The newest report, not sent yet."""
        self.crops: str | None = None
        """The newest crops, not sent yet."""
        self.commands_waiting = 0
        self.changed = asyncio.Event()
        """There may be something to send."""
        self._timer: asyncio.TimerHandle | None = None

    def plan(self) -> None:
        """Sets `changed` when the newest picture's time comes."""
        loop = asyncio.get_running_loop()
        both = [pace.delay_s(loop.time()) for pace in (self.pace, self.others)]
        delays_s = [delay_s for delay_s in both if delay_s is not None]
        if not delays_s:
            return
        due_s = loop.time() + min(delays_s)
        if self._timer is not None and due_s < self._timer.when():
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_at(due_s, self._wake)

    def forget(self) -> None:
        """The browser is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._timer = None
        self.changed.set()
