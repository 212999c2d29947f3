"""Counts how the stream is doing, over the last seconds; pure, its time comes as an argument."""

from __future__ import annotations

from collections import deque

import numpy as np

WINDOW_NS = 5_000_000_000
KEPT_AT_MOST = 4096


class Window:
    """Values of the last seconds."""

    def __init__(self) -> None:
        self._values: deque[tuple[int, float]] = deque(maxlen=KEPT_AT_MOST)
        self._now_ns = 0

    def add(self, value: float, now_ns: int) -> None:
        """Adds a value and forgets old ones."""
        self._values.append((now_ns, value))
        self.forget(now_ns)

    def forget(self, now_ns: int) -> None:
        """Drops what is older than the window."""
        self._now_ns = now_ns
        while self._values and self._values[0][0] < now_ns - WINDOW_NS:
            self._values.popleft()

    def percentile(self, part: float) -> float:
        """0 where there is nothing."""
        values = [value for _, value in self._values]
        return float(np.percentile(values, part)) if values else 0.0

    def rate_hz(self) -> float:
        """Values a second between the first and the last; falls while nothing comes."""
        count = len(self._values)
        if count < 2:
            return 0.0
        first_ns, last_ns = self._values[0][0], self._values[-1][0]
        if last_ns <= first_ns:
            return 0.0
        # The second is the smaller once the silence is longer than an interval.
        return min((count - 1) / (last_ns - first_ns), count / (self._now_ns - first_ns)) * 1e9


class Meter:
    """Rate, latency and the time of each stage."""

    def __init__(self) -> None:
        self._latency = Window()
        self._stages: dict[str, Window] = {}
        self.published = 0
        """Frames that left with their maps, since the start."""

    def publish(self, latency_s: float, stages_s: dict[str, float], now_ns: int) -> None:
        """Notes one frame that left.

        Args:
            latency_s: from capture to publish.
            stages_s: what each stage of the loop took.
            now_ns: monotonic.
        """
        self.published += 1
        self._latency.add(latency_s, now_ns)
        for name, seconds in stages_s.items():
            self._stages.setdefault(name, Window()).add(seconds, now_ns)

    def forget(self, now_ns: int) -> None:
        """So that a stream that stands still shows no rate."""
        for window in (self._latency, *self._stages.values()):
            window.forget(now_ns)

    def rate_hz(self) -> float:
        """Frames a second that left."""
        return self._latency.rate_hz()

    def latency_ms(self) -> dict[str, float]:
        """p50 and p99 from capture to publish."""
        return {f"p{p}": self._latency.percentile(p) * 1e3 for p in (50, 99)}

    def stages_ms(self) -> dict[str, float]:
        """Median of each stage."""
        return {name: window.percentile(50) * 1e3 for name, window in self._stages.items()}
