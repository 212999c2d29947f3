"""The next point to look at: where a look is expected to tell most, and has not told already.

A look at x sees what lies around it with the visibility V, 1 in the middle and Gaussian beyond, of
width sigma (`gaze.fovea`). What it is expected to tell of where the thing is, its information gain,
is near to a sum over cells (J. Najemnik and W. Geisler, Vision Research 2009):

    gain(x) = sum_i u(i) (1 - s(i)) V(i - x)

u is the published density, which is read and never written. s in 0..1 is the sink: what looks have
taken out already. A look k at p_k has taken the part w_k V(i - p_k), and with several of them

    s(i) = 1 - prod_k (1 - w_k V(i - p_k))
    dw/dt = (1 - w) / look_s - w / return_s    while one looks there, else    dw/dt = -w / return_s

solved exactly for any step. So one stays where there is much to see for longer, goes on, and comes
back. A turn takes time: a place at the distance d is worth gain / (1 + turn_cost d / diagonal), and
the gaze leaves when one beyond its fovea is worth more than what is left where it is.

Looks move with the camera's ego-motion where it is known, and with the target they were at: what
was looked at stays looked at when it moves (S. Tipper et al., Q. J. Exp. Psychol. 1991). Places are
kept in -1..1 over the picture, x right, y down, as ego-motion has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam_edge.config import GazeConfig
from aam_edge.messages import Gaze, Map, Observation, RawAttention, Target
from aam_edge.readout.grid import Grid
from aam_edge.readout.hills import Floats

FORGOTTEN = 0.01
"""A look that takes less than this part out of what it saw is as good as none."""
SAME_LOOK = 1.5
"""Places nearer than this to the gaze, in widths of the fovea, are no other look."""


@dataclass(slots=True)
class Look:
    """A place that one looks at, or has looked at."""

    x: float
    y: float
    """-1..1 over the picture; beyond it for what the camera has turned away from."""
    strength: float = 0.0
    """w, 0..1: what part of its middle it has taken out."""
    target_id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The map's grid with the fovea on it."""

    grid: Grid
    sigma_px: float
    """Width of the fovea."""

    @property
    def diagonal_px(self) -> float:
        """Of the picture."""
        return math.hypot(*self.grid.image)

    def pixel(self, look: Look) -> tuple[float, float]:
        """Where a look lies, source pixels."""
        width, height = self.grid.image
        return (look.x + 1) / 2 * width - 0.5, (look.y + 1) / 2 * height - 0.5

    def place(self, x: float, y: float) -> tuple[float, float]:
        """And back: source pixels to -1..1."""
        width, height = self.grid.image
        return 2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1

    def is_same(self, look: Look, x: float, y: float) -> bool:
        """Whether a look was at this pixel, or nearly so."""
        its_x, its_y = self.pixel(look)
        return math.hypot(its_x - x, its_y - y) < self.sigma_px / 2

    def distances(self, x: float, y: float) -> Floats:
        """(h, w), pixels from a pixel to each cell."""
        columns, rows = self.grid.centres()
        squares = np.add.outer((rows - y) ** 2, (columns - x) ** 2)
        return np.asarray(np.sqrt(squares, out=squares))

    def seen(self, density: Floats) -> Floats:
        """(h, w): sum of a density (h, w) under the fovea at each cell."""
        down, across = visibility(self.grid.shape, self.grid.image, self.sigma_px)
        return np.asarray(down @ density @ across)

    def left(self, density: Map, looks: Sequence[Look]) -> Floats:
        """(h, w): a density (h, w) without what the looks have taken out, u (1 - s)."""
        columns, rows = self.grid.centres()
        left: Floats = density.astype(np.float64)
        if not looks:
            return left
        x, y = np.array([self.pixel(look) for look in looks]).T[:, :, None]
        strengths = np.array([[look.strength] for look in looks])
        along_x = bell(columns - x, self.sigma_px)  # (looks, w)
        along_y = strengths * bell(rows - y, self.sigma_px)  # (looks, h)
        for down, across in zip(along_y, along_x, strict=True):
            taken = np.multiply.outer(down, across)
            left *= np.subtract(1, taken, out=taken)
        return left


class GazeChooser:
    """What one looks at and has looked at, of one camera and prompt. Time is an argument."""

    def __init__(self, config: GazeConfig) -> None:
        self._config = config
        self._looks: list[Look] = []
        self._current: Look | None = None
        self._held_s = 0.0
        self._last_ns: int | None = None

    def choose(
        self, observation: Observation, raw: RawAttention, targets: Sequence[Target]
    ) -> Gaze | None:
        """The point to look at, without bearing; None where there is no target.

        Args:
            observation: what the map was made of: its time, size and ego-motion count.
            raw: the map. A cut makes all looks new, as does time that runs back.
            targets: of the map, best first.
        """
        self._pass_time(observation.frame.capture_ns, is_cut=raw.cut)
        if observation.ego is not None:
            self._turn(observation.ego)
        width = self._config.fovea * max(observation.frame.size)
        field = Field(Grid(raw.density.shape, observation.frame.size), width)
        self._follow(field, targets)
        if not targets:
            self._current = None
            return None
        self._decide(field, raw.density, targets)
        assert self._current is not None
        return Gaze(*field.pixel(self._current), target_id=self._current.target_id)

    def _pass_time(self, now_ns: int, *, is_cut: bool) -> None:
        """Looks fade, the current one takes in."""
        if is_cut or (self._last_ns is not None and now_ns < self._last_ns):
            self.reset()
        dt_s = 0.0 if self._last_ns is None else (now_ns - self._last_ns) * 1e-9
        self._last_ns = now_ns
        self._held_s += dt_s
        for look in self._looks:
            look.strength = faded(look.strength, dt_s, self._config, looks=look is self._current)
        self._looks = [
            look for look in self._looks if look is self._current or look.strength >= FORGOTTEN
        ]

    def _turn(self, ego: NDArray[np.float32]) -> None:
        """Takes all looks to where their places are now; those behind the camera are lost."""
        looks, self._looks = self._looks, []
        for look in looks:
            x, y, depth = ego.astype(np.float64) @ (look.x, look.y, 1.0)
            if depth > 1e-6 and math.isfinite(x + y):
                look.x, look.y = float(x / depth), float(y / depth)
                self._looks.append(look)
            elif look is self._current:
                self._current = None

    def _follow(self, field: Field, targets: Sequence[Target]) -> None:
        """Looks go with their targets; the current one takes up a target that came near.

        A target that stands elsewhere in one step is another one: ids are given by place in the
        picture, and when the camera turns they may stay with the place.
        """
        known = {target.id: target for target in targets}
        for look in self._looks:
            target = known.get(look.target_id) if look.target_id is not None else None
            if target is not None and nearest([target], *field.pixel(look), field.sigma_px):
                look.x, look.y = field.place(target.x, target.y)
            elif look is self._current:
                self._attach(field, look, targets)
            else:
                look.target_id = None

    def _attach(self, field: Field, look: Look, targets: Sequence[Target]) -> None:
        """Puts a look on the target within half a fovea, if there is one."""
        x, y = field.pixel(look)
        near = nearest(targets, x, y, field.sigma_px / 2)
        look.target_id = None if near is None else near.id
        if near is not None:
            look.x, look.y = field.place(near.x, near.y)

    def _decide(self, field: Field, density: Map, targets: Sequence[Target]) -> None:
        """Stays, or begins another look."""
        current = self._current
        is_in_view = current is not None and max(abs(current.x), abs(current.y)) <= 1
        if is_in_view and self._held_s < self._config.dwell_s:
            return
        gain = field.seen(field.left(density, self._looks))
        x, y = field.pixel(current or Look(0.0, 0.0))  # the first look comes from the middle
        away_px = field.distances(x, y)
        worth = gain / (1 + self._config.turn_cost / field.diagonal_px * away_px)
        if current is not None and is_in_view:
            left = gain.flat[away_px.argmin()]
            worth[away_px < SAME_LOOK * field.sigma_px] = 0.0
            if worth.max() <= left:
                return
            targets = [t for t in targets if t.id != current.target_id]
        row, column = np.unravel_index(int(worth.argmax()), worth.shape)
        columns, rows = field.grid.centres()
        self._begin(field, float(columns[column]), float(rows[row]), targets)

    def _begin(self, field: Field, x: float, y: float, targets: Sequence[Target]) -> None:
        """Looks at the target at or near a pixel, or at the pixel itself."""
        target = nearest(targets, x, y, field.sigma_px)
        if target is not None:
            x, y = target.x, target.y
        look = Look(*field.place(x, y), target_id=None if target is None else target.id)
        again = [k for k in self._looks if field.is_same(k, x, y)]
        # A place is taken out once, however often it is looked at.
        look.strength = max((known.strength for known in again), default=0.0)
        self._looks = [k for k in self._looks if not field.is_same(k, x, y)] + [look]
        self._current, self._held_s = look, 0.0

    @property
    def place(self) -> tuple[float, float] | None:
        """What is looked at, -1..1 over the picture; None for nothing."""
        return None if self._current is None else (self._current.x, self._current.y)

    def reset(self) -> None:
        """Has looked at nothing."""
        self._looks, self._current, self._held_s, self._last_ns = [], None, 0.0, None

    def state(self) -> dict[str, Any]:
        """Plain values for `restore`."""
        at = next((k for k, look in enumerate(self._looks) if look is self._current), None)
        looks = [asdict(look) for look in self._looks]
        return {"looks": looks, "at": at, "held_s": self._held_s, "last_ns": self._last_ns}

    def restore(self, state: object) -> None:
        """Goes on from `state()`; what an older version saved counts as nothing looked at."""
        self.reset()
        if not isinstance(state, dict):
            return
        self._looks = [Look(**look) for look in state["looks"]]
        self._current = None if state["at"] is None else self._looks[state["at"]]
        self._held_s, self._last_ns = state["held_s"], state["last_ns"]


def bell(distances_px: Floats, sigma_px: float) -> Floats:
    """V along one axis."""
    return np.asarray(np.exp(-(distances_px**2) / (2 * sigma_px**2)))


@lru_cache(maxsize=8)
def visibility(
    shape: tuple[int, int], image: tuple[int, int], sigma_px: float
) -> tuple[Floats, Floats]:
    """V between all rows (h, h) and between all columns (w, w) of a map."""
    columns, rows = Grid(shape, image).centres()
    down, across = (bell(np.subtract.outer(x, x), sigma_px) for x in (rows, columns))
    return down, across


def faded(strength: float, dt_s: float, config: GazeConfig, *, looks: bool) -> float:
    """w after dt_s, exactly: towards its rest while one looks there, towards 0 else."""
    taking = 1 / config.look_s if looks else 0.0
    rate = taking + 1 / config.return_s
    rest = taking / rate
    return rest + (strength - rest) * math.exp(-rate * dt_s)


def nearest(targets: Sequence[Target], x: float, y: float, within_px: float) -> Target | None:
    """The target nearest to a pixel, None where none lies within `within_px`."""
    near = [(math.hypot(t.x - x, t.y - y), k) for k, t in enumerate(targets)]
    distance_px, k = min(near, default=(math.inf, 0))
    return targets[k] if distance_px <= within_px else None
