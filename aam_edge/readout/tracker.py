"""Gives targets ids that stay with them. A pure state machine: time comes as an argument.

Each target keeps a constant velocity v. Before a new map is looked at, all targets move by v dt,
and with the picture where the camera's own motion is known, so that v is what moves in the world.
Then targets and peaks are paired, the nearest pair first, distance measured in widths. A paired
target stands where its peak is, and its velocity takes up the part 1 - exp(-dt / VELOCITY_MEMORY_S)
of the miss per dt (the beta of an alpha-beta filter). One without a peak moves on by its velocity
until keep_s has passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.messages import Target
from aam_edge.readout.peaks import Peak

GATE_WIDTHS = 2.5
"""A peak further off than this, in the joint width of peak and target, is another target."""
GATE_GROWTH_PER_S = 2.0
"""The gate opens by this part of itself a second without a peak: the target may have turned."""
VELOCITY_MEMORY_S = 0.1
"""A velocity is learned, and jitter of the peaks averaged, over about this time at any rate."""


AHEAD_S = 0.01
"""How far ahead a target is looked for, to turn its velocity with the picture."""
FURTHEST = 10.0
"""Half pictures: a target that the camera has turned away from is somewhere out there."""
Ego = NDArray[np.float32]


@dataclass(slots=True)
class Track:
    """A target's past. Pixels and seconds."""

    id: int
    x: float
    y: float
    width_px: float
    seen_ns: int
    vx: float = 0.0
    vy: float = 0.0

    def move(self, dt_s: float) -> None:
        """Lets it go on by its velocity."""
        self.x += self.vx * dt_s
        self.y += self.vy * dt_s

    def turn(self, ego: Ego, size: tuple[int, int]) -> None:
        """Takes it along with the picture (W, H): the camera has turned."""
        ahead = _moved(ego, size, self.x + self.vx * AHEAD_S, self.y + self.vy * AHEAD_S)
        self.x, self.y = _moved(ego, size, self.x, self.y)
        self.vx, self.vy = (ahead[0] - self.x) / AHEAD_S, (ahead[1] - self.y) / AHEAD_S

    def misfit(self, peak: Peak, now_ns: int) -> float:
        """Distance to a peak as a part of the gate; above 1 it is another target's."""
        unseen_s = (now_ns - self.seen_ns) * 1e-9
        gate_px = GATE_WIDTHS * math.hypot(self.width_px, peak.width_px)
        distance_px = math.hypot(peak.x - self.x, peak.y - self.y)
        return distance_px / (gate_px * (1 + GATE_GROWTH_PER_S * unseen_s))

    def see(self, peak: Peak, now_ns: int) -> None:
        """Puts it where its peak is and corrects its velocity."""
        unseen_s = (now_ns - self.seen_ns) * 1e-9
        if unseen_s > 0:
            gain_per_s = (1 - math.exp(-unseen_s / VELOCITY_MEMORY_S)) / unseen_s
            self.vx += gain_per_s * (peak.x - self.x)
            self.vy += gain_per_s * (peak.y - self.y)
        self.x, self.y, self.width_px, self.seen_ns = peak.x, peak.y, peak.width_px, now_ns


class TargetTracker:
    """Targets of one camera and prompt. An id is never given twice, not even after a reset.

    Args:
        keep_s: a target out of sight for longer loses its id.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._tracks: list[Track] = []
        self._next_id = 1
        self._now_ns = 0

    def turn(self, ego: Ego, size: tuple[int, int]) -> None:
        """Takes all targets along with the picture, before `update` sees a new map of it.

        Args:
            ego: (3, 3), the camera's motion since the last map, see `Observation.ego`.
            size: (W, H) of the picture.
        """
        for track in self._tracks:
            track.turn(ego, size)

    def update(
        self, peaks: Sequence[Peak], now_ns: int, *, cut: bool = False
    ) -> tuple[Target, ...]:
        """The peaks of one map as targets, in the same order.

        Args:
            peaks: of the map, pixels.
            now_ns: capture time of the frame. Time that runs back is a cut.
            cut: the scene is another one, so every target is new.
        """
        if cut or now_ns < self._now_ns:
            self.reset()
        dt_s = (now_ns - self._now_ns) * 1e-9
        for track in self._tracks:
            track.move(dt_s)
        self._now_ns = now_ns
        self._forget()
        owners = self._pair(peaks)
        return tuple(self._target(peak, owners.get(k)) for k, peak in enumerate(peaks))

    def _forget(self) -> None:
        oldest_ns = self._now_ns - round(self._keep_s * 1e9)
        self._tracks = [track for track in self._tracks if track.seen_ns >= oldest_ns]

    def _pair(self, peaks: Sequence[Peak]) -> dict[int, Track]:
        """Index of each peak that a known target owns; the best fitting pair is made first."""
        misfits = (
            (track.misfit(peak, self._now_ns), t, k)
            for t, track in enumerate(self._tracks)
            for k, peak in enumerate(peaks)
        )
        owners: dict[int, Track] = {}
        paired: set[int] = set()
        for _, t, k in sorted(pair for pair in misfits if pair[0] <= 1):
            if t not in paired and k not in owners:
                owners[k] = self._tracks[t]
                paired.add(t)
        return owners

    def _target(self, peak: Peak, track: Track | None) -> Target:
        if track is None:
            track = Track(self._next_id, peak.x, peak.y, peak.width_px, self._now_ns)
            self._tracks.append(track)
            self._next_id += 1
        else:
            track.see(peak, self._now_ns)
        return Target(track.id, peak.x, peak.y, peak.sigma_px, peak.score)

    def reset(self) -> None:
        """Forgets all targets; their ids stay used."""
        self._tracks.clear()

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        tracks = [asdict(track) for track in self._tracks]
        return {"next_id": self._next_id, "now_ns": self._now_ns, "tracks": tracks}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`. Ids given here since stay used."""
        self._next_id = max(self._next_id, state["next_id"])
        self._now_ns = state["now_ns"]
        self._tracks = [Track(**track) for track in state["tracks"]]


def _moved(ego: Ego, size: tuple[int, int], x: float, y: float) -> tuple[float, float]:
    """A pixel through a homography of -1..1 over the picture."""
    half = size[0] / 2, size[1] / 2
    point = ego @ np.array([(x + 0.5) / half[0] - 1, (y + 0.5) / half[1] - 1, 1.0])
    if point[2] <= 0:
        return -FURTHEST * size[0], -FURTHEST * size[1]
    there = np.clip(point[:2] / point[2], -FURTHEST, FURTHEST)
    return float((there[0] + 1) * half[0] - 0.5), float((there[1] + 1) * half[1] - 0.5)
