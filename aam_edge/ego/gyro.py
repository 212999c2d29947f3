"""Turn rates by time, and how far a sensor turned between two times.

A gyro's rate w (rad/s, in its own frame, right-handed) turns it by exp([w dt]) in each step, and a
direction that stands still in the world goes the other way in the sensor's frame:

    v_to = turn v_from    with turn = (exp([w_1 dt_1]) exp([w_2 dt_2]) ...)^T
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from aam_edge.ego.rotation import rotations_of
from aam_edge.intrinsics import Floats

LONGEST_HOLE_NS = 50_000_000
"""Rates are held or drawn as a line over at most so much; a longer hole is one."""
KEPT_SAMPLES = 20_000
"""Of a live gyro: 20 s at 1 kHz."""
Times = NDArray[np.int64]
Rate = tuple[float, float, float]


class Gyro:
    """Samples in order of time; any thread may add or ask."""

    def __init__(self, times_ns: Sequence[int] = (), rates: Floats | None = None) -> None:
        """Begins with what is known: times that rise, and rates (n, 3)."""
        self._times_ns = list(times_ns)
        self._rates: list[Rate] = []
        if rates is not None:
            self._rates = [(x, y, z) for x, y, z in rates.tolist()]
        self._lock = threading.Lock()
        self.dropped = 0
        """Samples that were not newer than the one before."""

    def add(self, time_ns: int, rate: Sequence[float]) -> None:
        """One more sample, rad/s; the oldest go when there are too many."""
        with self._lock:
            if self._times_ns and time_ns <= self._times_ns[-1]:
                self.dropped += 1
                return
            self._times_ns.append(time_ns)
            x, y, z = map(float, rate)
            self._rates.append((x, y, z))
            if len(self._times_ns) > 2 * KEPT_SAMPLES:
                del self._times_ns[:-KEPT_SAMPLES], self._rates[:-KEPT_SAMPLES]

    def between(self, after_ns: int, to_ns: int) -> list[tuple[int, Rate]]:
        """Samples later than one time, up to another one: time and rate."""
        with self._lock:
            first, last = (
                bisect_right(self._times_ns, after_ns),
                bisect_right(self._times_ns, to_ns),
            )
            return list(zip(self._times_ns[first:last], self._rates[first:last], strict=True))

    def turn(self, from_ns: int, to_ns: int, bias: Floats | None = None) -> Floats | None:
        """(3, 3): takes directions in the sensor's frame from one time to a later one.

        None where samples are missing in between, or numbers are none. `bias` (3,), rad/s, is what
        the sensor says while it stands still.
        """
        steps = self.steps(from_ns, to_ns, bias)
        if steps is None:
            return None
        return np.asarray(reduce(np.matmul, rotations_of(steps)).T)

    def steps(self, from_ns: int, to_ns: int, bias: Floats | None = None) -> Floats | None:
        """(n, 3): rotation vectors, one behind the other, from one time to a later one."""
        times_ns, rates = self._around(from_ns, to_ns)
        length_ns = to_ns - from_ns
        if len(times_ns) == 0 or length_ns <= 0:
            return None
        holes = np.diff(times_ns, prepend=min(0, times_ns[0]), append=max(length_ns, times_ns[-1]))
        if holes.max() > LONGEST_HOLE_NS or not np.isfinite(rates).all():
            return None
        inner = times_ns[(times_ns > 0) & (times_ns < length_ns)]
        borders = np.concatenate([[0], inner, [length_ns]])
        middles = (borders[1:] + borders[:-1]) / 2
        # Beyond the ends the last rate holds.
        found = np.stack([np.interp(middles, times_ns, rate) for rate in rates.T], axis=1)
        found = found if bias is None else found - bias
        return np.asarray(found * (np.diff(borders) / 1e9)[:, None])

    def _around(self, from_ns: int, to_ns: int) -> tuple[Times, Floats]:
        """Samples between the times with one more on each side where there is one.

        Times are nanoseconds since `from_ns`: floats of UNIX times step by 240.
        """
        with self._lock:
            first = max(0, bisect_right(self._times_ns, from_ns) - 1)
            last = bisect_left(self._times_ns, to_ns) + 1
            times_ns, rates = self._times_ns[first:last], self._rates[first:last]
        return np.array(times_ns, np.int64) - from_ns, np.array(rates, np.float64).reshape(-1, 3)
