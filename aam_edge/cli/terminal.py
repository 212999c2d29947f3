"""A line in the terminal that tells how the stream does, for as long as it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from aam_edge.messages import Attention, Frame, Health

QUIET_LINES_S = 10.0
"""Between two lines where there is no terminal to write over."""


class Terminal:
    """A sink that writes one line a second over itself, or one each ten seconds into a log."""

    name = "terminal"

    def __init__(self, quiet: bool):
        self.dropped = 0
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._next_line = 0.0
        self._newest: Attention | None = None

    def offer(self, frame: Frame, attentions: Sequence[Attention]) -> None:
        """Keeps the newest map for the next line."""
        if self._newest is None and not self._quiet:
            seconds = time.monotonic() - self._started
            self._write(f"first map {seconds:.1f} s after opening", over=False)
        self._newest = attentions[0]

    def offer_health(self, health: Health) -> None:
        """Writes the line when it is due."""
        now = time.monotonic()
        if self._quiet or self._newest is None or now < self._next_line:
            return
        self._next_line = now + (0 if self._is_terminal else QUIET_LINES_S)
        self._write(status_line(self._newest, health), over=self._is_terminal)

    def state(self) -> str:
        """Always ok: a line that cannot be written is not missed."""
        return "ok"

    def close(self) -> None:
        """Leaves the last line where it stands."""
        if self._is_terminal and self._newest is not None and not self._quiet:
            self._write("", over=False)

    def _write(self, line: str, *, over: bool) -> None:
        try:
            sys.stderr.write(f"\r\x1b[2K{line}" if over else f"{line}\n")
            sys.stderr.flush()
        except OSError:  # the terminal has gone; the stream goes on
            self._quiet = True


def status_line(attention: Attention, health: Health) -> str:
    """Rate, latency, what was lost, and where to look."""
    gaze = attention.gaze
    where = f"look at {gaze.x:.0f},{gaze.y:.0f}" if gaze else "nothing stands out"
    p50, p99 = health.latency_ms["p50"], health.latency_ms["p99"]
    lost = sum(health.dropped.values())
    states = ", ".join(f"{name} {state}" for name, state in health.source_state.items())
    if health.maps != "ok":
        return f"no fresh maps: {health.maps}  dropped {lost}"
    return (
        f"{states}  {health.rate_hz:.1f} maps/s  latency {p50:.0f} ms (p99 {p99:.0f})"
        f"  dropped {lost}  {where}"
    )
