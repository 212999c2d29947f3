"""When a block of sound began, without the jitter of whoever says so.

Sound comes in blocks whose stamps jitter (a busy machine, a container's milliseconds) while the
samples themselves follow each other exactly. So a block begins where the last one ended,

    start = anchor + samples since the anchor / rate

and the anchor is set anew when the stamps disagree with that for good: by more than JUMP_NS at once
(a hole, an overrun), or by more than DRIFT_NS on average (two crystals, some 10 to 100 ppm).
"""

from __future__ import annotations

from aam_edge.messages import SOUND_RATE_HZ

JUMP_NS = 100_000_000
DRIFT_NS = 10_000_000
SMOOTHING = 0.05


class SampleClock:
    """Start times of consecutive blocks."""

    def __init__(self, rate_hz: int = SOUND_RATE_HZ) -> None:
        self._rate_hz = rate_hz
        self._anchor_ns: int | None = None
        self._samples = 0
        self._error_ns = 0.0

    def start_of(self, samples: int, measured_ns: int) -> int:
        """UNIX time of the first of the next `samples`, said by somebody to be `measured_ns`."""
        if self._anchor_ns is None or self._is_off(measured_ns):
            self._anchor_ns, self._samples, self._error_ns = measured_ns, 0, 0.0
        start_ns = self._next_ns(self._anchor_ns)
        self._samples += samples
        return start_ns

    def _is_off(self, measured_ns: int) -> bool:
        assert self._anchor_ns is not None
        error_ns = measured_ns - self._next_ns(self._anchor_ns)
        self._error_ns += SMOOTHING * (error_ns - self._error_ns)
        return abs(error_ns) > JUMP_NS or abs(self._error_ns) > DRIFT_NS

    def _next_ns(self, anchor_ns: int) -> int:
        return anchor_ns + self._samples * 1_000_000_000 // self._rate_hz
