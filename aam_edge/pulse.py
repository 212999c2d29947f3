"""Whether fresh maps leave and, if none do, why: what health says under `maps`.

Pure: times come as arguments. The loop writes, any thread may read; each word the two share is
one reference that is replaced whole, so that no lock stands in the frame's way.

A map is fresh if its frame is another than the last one's and is stamped otherwise. None has left
for too long after `FRESH_S`, or after 2.5 of the last usual intervals where a source or a network
is slower than that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from aam_edge.messages import Frame

OK = "ok"
PAUSED = "paused by command"
FRESH_S = 1.2
"""So that health, which looks each 0.1 s, is bad within 2 s."""
INTERVALS = 2.5
REMEMBERED = 5
LATE_S = 2.0
LATE_RUN = 5
"""So many maps one after the other: a stepped clock makes one or two look late."""


@dataclass(frozen=True, slots=True)
class SourceNow:
    """What there is to know of a camera when one asks why it has no maps."""

    state: str
    error: str
    is_paused: bool


class Leaving:
    """The maps of one camera that left."""

    def __init__(self) -> None:
        self.last_ns: int | None = None
        """When the last fresh one left, monotonic."""
        self.repeats = 0
        """Maps since then of a frame that was there before."""
        self.late_s = 0.0
        """How old the last maps were when they left, if too old; negative: from the future."""
        self._late_run = 0
        self._known: tuple[int, int] | None = None
        self._gaps: deque[int] = deque(maxlen=REMEMBERED)

    def note(self, frame: Frame, latency_s: float | None, now_ns: int) -> None:
        """A map of this frame has left."""
        known, self._known = self._known, (frame.frame_id, frame.capture_ns)
        if known is not None and frame.capture_ns == known[1]:
            self.repeats += 1
            return
        if self.last_ns is not None:
            self._gaps.append(now_ns - self.last_ns)
        self.last_ns, self.repeats = now_ns, 0
        is_late = latency_s is not None and abs(latency_s) > LATE_S
        self._late_run = self._late_run + 1 if is_late else 0
        self.late_s = latency_s or 0.0 if self._late_run >= LATE_RUN else 0.0

    def is_fresh(self, now_ns: int) -> bool:
        """Whether the last one is not too long ago."""
        if self.last_ns is None:
            return False
        usual_ns = median(self._gaps.copy()) if self._gaps else 0
        return now_ns - self.last_ns <= max(FRESH_S * 1e9, INTERVALS * usual_ns)


class Pulse:
    """Where the loop is, and what has left it."""

    def __init__(self, now_ns: int) -> None:
        self._start_ns = now_ns
        self._doing = ("starting", now_ns)
        self._open_ns: int | None = None
        self._ended = ""
        self._leaving: dict[str, Leaving] = {}

    @property
    def doing(self) -> str:
        """What the loop is inside of; empty while it waits for frames."""
        return self._doing[0]

    def enter(self, doing: str, now_ns: int) -> None:
        """The loop goes into something that might not come back, such as a sink."""
        self._doing = (doing, now_ns)

    def wait(self, now_ns: int) -> None:
        """It is back, and waits for frames: everything is open."""
        self._open_ns = now_ns if self._open_ns is None else self._open_ns
        self._doing = ("", now_ns)

    def leave(self, frame: Frame, latency_s: float | None, now_ns: int) -> None:
        """A frame's maps have left; `latency_s` where the source's clock is ours."""
        leaving = self._leaving.get(frame.camera) or Leaving()
        leaving.note(frame, latency_s, now_ns)
        self._leaving = self._leaving | {frame.camera: leaving}

    def end(self, why: str) -> None:
        """The loop has ended."""
        self._ended = why

    def age_s(self, now_ns: int) -> float | None:
        """Seconds since a fresh map left, of any camera; None before the first."""
        times = [its.last_ns for its in self._leaving.values() if its.last_ns is not None]
        return (now_ns - max(times)) / 1e9 if times else None

    def why(self, now_ns: int, cameras: Mapping[str, SourceNow]) -> str:
        """`ok`, or why no fresh map leaves, of any camera."""
        if self._ended:
            return self._ended
        if self._open_ns is None:
            return f"opening: {self._doing[0]}, for {(now_ns - self._start_ns) / 1e9:.1f} s"
        words = {name: self.why_camera(name, now_ns, now) for name, now in cameras.items()}
        if not words or OK in words.values():
            return OK
        if stuck := self._stuck(now_ns):
            return stuck
        if set(words.values()) == {PAUSED}:
            return PAUSED
        return "; ".join(f"{name}: {why}" for name, why in words.items())

    def why_camera(self, name: str, now_ns: int, now: SourceNow) -> str:
        """The same of one camera."""
        leaving = self._leaving.get(name) or Leaving()
        if now.is_paused:
            return PAUSED
        if leaving.is_fresh(now_ns):
            return f"maps are {leaving.late_s:.1f} s old" if leaving.late_s else OK
        if stuck := self._stuck(now_ns):
            return stuck
        if now.state == "ended":
            return "source ended"
        if now.state != "live":
            return f"source {now.state}" + (f": {now.error}" if now.error else "")
        if leaving.repeats:
            return "source repeats one picture: its stamp stands still"
        since_ns = next(t for t in (leaving.last_ns, self._open_ns, now_ns) if t is not None)
        return f"source gives no pictures for {(now_ns - since_ns) / 1e9:.1f} s"

    def _stuck(self, now_ns: int) -> str:
        doing, since_ns = self._doing
        stuck_s = (now_ns - since_ns) / 1e9
        return f"{doing} is stuck for {stuck_s:.1f} s" if doing and stuck_s > FRESH_S / 2 else ""
