"""Sends health once a second, and within a tenth of one when it turns bad or good.

The loop tells it how things are. A thread of its own steps in when the loop does not come by, since
it is then that health matters: it opens a camera, or is stuck in the network or in a sink. The
figures are then the last ones, but for those that can be had without the loop. Once a minute the
thread gives unused memory back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from aam_edge.messages import Health
from aam_edge.process import give_back_memory
from aam_edge.pulse import OK, Pulse
from aam_edge.sinks.sink import Sink

logger = logging.getLogger(__name__)

PERIOD_S = 1.0
LOOK_S = 0.1
PATIENCE_S = 0.3
"""How late the loop may be before the thread reports in its place."""
CLOSE_S = 0.2
MEMORY_S = 60.0


class Reporter:
    """What health says goes through here, to all sinks.

    Args:
        sinks: all of them; `offer_health` comes from two threads, one at a time.
        pulse: knows whether maps leave.
        maps: `ok`, or why no fresh map leaves; called from both threads.
        blank: what is known before anything runs.
    """

    def __init__(
        self, sinks: Sequence[Sink], pulse: Pulse, maps: Callable[[int], str], blank: Health
    ) -> None:
        self._sinks, self._pulse, self._maps = sinks, pulse, maps
        self._last, self._start_ns = blank, time.monotonic_ns()
        self._next_s = time.monotonic() + PERIOD_S
        self._seen_s = self._looked_s = time.monotonic()
        self._has_said_stuck = False
        self._turn = threading.Lock()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="aam-health", daemon=True)
        self._thread.start()

    def tick(self, make_health: Callable[[], Health]) -> None:
        """For the loop, often: reports when it is due, or when maps went bad or good."""
        now_s = self._seen_s = time.monotonic()
        if now_s < min(self._next_s, self._looked_s + LOOK_S):
            return
        self._looked_s = now_s
        if now_s >= self._next_s or self._has_turned():
            self._report(make_health(), now_s, "")

    def end(self, health: Health) -> None:
        """The last word: that no maps will come, and why."""
        self.close()
        self._report(health, time.monotonic(), "")

    def close(self) -> None:
        """Ends the thread; twice is fine."""
        self._is_closed.set()
        self._thread.join(CLOSE_S)

    def _has_turned(self) -> bool:
        return (self._maps(time.monotonic_ns()) == OK) != (self._last.maps == OK)

    def _watch(self) -> None:
        """The thread's body."""
        memory_s = time.monotonic() + MEMORY_S
        try:
            while not self._is_closed.wait(LOOK_S):
                now_s = time.monotonic()
                if now_s >= memory_s:
                    give_back_memory()
                    memory_s = now_s + MEMORY_S
                if now_s - self._seen_s < PATIENCE_S:
                    continue
                if now_s >= self._next_s + PATIENCE_S or self._has_turned():
                    self._report(self._without_loop(), now_s, self._pulse.doing)
        except Exception:  # the top of a thread
            logger.exception("health is told by the loop alone from now on")

    def _without_loop(self) -> Health:
        now_ns, last = time.monotonic_ns(), self._last
        maps = self._maps(now_ns)
        return replace(
            last,
            maps=maps,
            map_age_s=self._pulse.age_s(now_ns),
            sinks={sink.name: sink.state() for sink in self._sinks},
            uptime_s=(now_ns - self._start_ns) / 1e9,
            rate_hz=last.rate_hz if maps == OK else 0.0,
            cameras={n: replace(c, maps=maps) for n, c in last.cameras.items()}
            if maps != OK
            else last.cameras,
        )

    def _report(self, health: Health, now_s: float, stuck_in: str) -> None:
        """To all sinks but the one that the loop is stuck in, which would hold us too."""
        if not self._turn.acquire(timeout=CLOSE_S):
            return
        try:
            self._say_turn(health, is_stuck=bool(stuck_in))
            self._last = health
            if now_s >= self._next_s:
                self._next_s += PERIOD_S
                self._next_s = self._next_s if self._next_s > now_s else now_s + PERIOD_S
            for sink in self._sinks:
                if stuck_in != sink_words(sink):
                    sink.offer_health(health)
        finally:
            self._turn.release()

    def _say_turn(self, health: Health, *, is_stuck: bool) -> None:
        """In the log, when the loop gets stuck and when it goes on; sources tell of themselves."""
        if is_stuck and self._last.maps == OK != health.maps:
            self._has_said_stuck = True
            logger.warning("no fresh maps: %s", health.maps)
        elif self._has_said_stuck and health.maps == OK:
            self._has_said_stuck = False
            logger.info("fresh maps again")


def sink_words(sink: Sink) -> str:
    """How the loop calls being inside of a sink."""
    return f"sink {sink.name}"
