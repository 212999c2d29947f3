"""Where in the world to turn a head: a memory of what was seen, and of what was not seen yet.

The gaze of gaze.py knows what is in view. A head that searches also needs to know what it has not
looked at. So the world around it is a grid of bearings, and p_i is the probability that what is
asked for is in cell i: at first by solid angle alone. With q the probability that it is in view
(`presence`) and r_i the density in cell i over the mean density in view, a look k tells of the
cells in view, and of no others,

    e_ik = clip(ln(q / (1 - q)), -most, most) + trust ln((1 - doubt) r_i + doubt)

Where q is small all that is in view goes down, and what was never seen goes up as all sums to 1.
The network errs on a place in the same way each time it sees it, so n looks at one are not n
witnesses: with the correlation rho between them (their mean has the weight n / (1 + rho (n - 1)))

    ln p_i = ln prior_i + sum_k e_ik / (1 + rho (n_i - 1)) - taken_i + constant

taken_i grows by `take` where a look was at the cell, within the fovea of its axis, and nothing was
found: the search of B. Koopman (Search and Screening, 1946) for a look that may miss. The next look
goes where most is expected, over the time that the turn takes:

    (mass under the fovea + glance * mass in view that was never seen) / (1 + turn_cost * angle)

Free viewing is the same with q = 1/2. Bearings are those of messages, of the head's own frame: yaw
positive to the left, pitch positive downwards, radians; the camera sits on pan, then tilt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam_edge.camera_yaml import read_camera_yaml
from aam_edge.intrinsics import Intrinsics
from aam_edge.messages import Map
from aam_edge.readout.bearings import bearings_of
from aam_edge.readout.grid import Grid
from aam_edge.readout.hills import Floats

SAME = 1e-9
"""Looks whose worth differs by less than this part are worth the same; the nearer one is taken."""


class Bearing(NamedTuple):
    """A direction of the head's own frame, radians."""

    yaw: float
    pitch: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRules:
    """How a head searches; the letters are those of the module."""

    cell_rad: float = math.radians(2.5)
    """Side of a cell."""
    fovea_rad: float = math.radians(10)
    """What lies nearer than this to the axis is looked at."""
    most: float = 4.0
    """Bound of the log-odds of one look."""
    trust: float = 0.7
    """In the density, 0..1."""
    doubt: float = 0.02
    """Part of the density that is spread over all that is in view, as the network may be wrong."""
    rho: float = 0.5
    """0: each look is a witness of its own; 1: all looks at a place say the same."""
    take: float = 2.3
    """A look that does not find leaves exp(-take) of what was in the fovea: a tenth."""
    glance: float = 0.5
    """What it is worth to see a place for the first time, beside looking at it."""
    turn_cost: float = 0.1
    """Time of a turn by one radian, in looks."""
    forget: float = 0.01
    """Part of all that is known that each look takes away: the world changes."""
    sure: float = 0.8
    """From this presence on, with half of the density in the fovea, it may be found ..."""
    dwell: int = 3
    """... if it is so in this many looks, one after the other."""


class WorldSearch:
    """What one head knows of where a thing is. Pure: bearings and maps in, bearings out."""

    def __init__(
        self,
        lens: Intrinsics,
        reach: tuple[float, float] = (math.radians(90), math.radians(35)),
        rules: SearchRules | None = None,
    ) -> None:
        """Knows nothing yet.

        Args:
            lens: of the camera, for pictures of its size.
            reach: how far the thing may be from straight on, radians to each side.
            rules: how to search.
        """
        self._lens, self._reach, self._rules = lens, reach, rules or SearchRules()
        counts = [max(1, round(2 * side / self._rules.cell_rad)) for side in reach]
        yaws, pitches = (
            ((np.arange(n) + 0.5) / n * 2 - 1) * side for n, side in zip(counts, reach, strict=True)
        )
        self._counts = counts
        self._bearings = np.stack(np.meshgrid(yaws, pitches), axis=-1).reshape(-1, 2)
        self._rays = rays_of(self._bearings)
        # Half as wide as the fovea: the axis goes to the middle of what it looks at, not so far
        # that the rim has it.
        between = np.arccos(np.clip(self._rays @ self._rays.T, -1, 1))
        self._near = np.exp(-2 * (between / self._rules.fovea_rad) ** 2)
        self._views = [within(angles, half) for angles, half in self._halves(yaws, pitches)]
        solid = np.cos(self._bearings[:, 1])
        self._log_prior = np.log(solid / solid.sum())
        self.reset()

    @classmethod
    def calibrated(cls, file: str | Path, reach: tuple[float, float]) -> WorldSearch:
        """With the lens of a camera's calibration file; raises DataError."""
        return cls(read_camera_yaml(Path(file)), reach)

    def reset(self) -> None:
        """Knows nothing."""
        self._evidence, self._seen, self._taken = np.zeros((3, len(self._rays)))
        self._streak = 0
        self._best: Bearing | None = None

    @property
    def mass(self) -> Floats:
        """(rows, columns): p, sums to 1; rows downwards, columns from right to left (by yaw)."""
        rho = self._rules.rho
        witnesses = np.maximum(1 + rho * (self._seen - 1), rho)
        # Half-forgotten looks count less than one: n may be a fraction.
        log_mass = self._log_prior + self._evidence / np.maximum(witnesses, 1) - self._taken
        mass = np.exp(log_mass - log_mass.max())
        return np.asarray(mass / mass.sum()).reshape(self._counts[::-1])

    @property
    def found(self) -> Bearing | None:
        """Where the thing is, once enough looks at it agree."""
        return self._best if self._streak >= self._rules.dwell else None

    def look(self, aim: tuple[float, float], density: Map, presence: float | None = None) -> None:
        """Takes in what the camera saw while its axis was at `aim`.

        Args:
            aim: of the axis, as the picture was taken.
            density: (h, w) as published, >= 0, sums to 1.
            presence: probability that what is asked for is in view; None for free viewing.
        """
        cells = self._cells_in_view(aim, density.shape)
        known = cells >= 0
        count = len(self._rays)
        share = np.bincount(cells[known], minlength=count) / density.size
        there: Floats = np.bincount(cells[known], density.ravel()[known], count).astype(float)
        in_view = share > 0
        ratio = there[in_view] / share[in_view]
        keep = 1 - self._rules.forget
        for memory in (self._evidence, self._seen, self._taken):
            memory *= keep
        self._evidence[in_view] += self._tells(ratio, presence)
        self._seen[in_view] += 1
        self._judge(aim, there, presence)

    def next_aim(self, aim: tuple[float, float]) -> Bearing:
        """Where to turn the axis from `aim`; there again while a thing is found or may be."""
        if self._best is not None:
            return self._best
        rules, mass = self._rules, self.mass
        down, across = self._views[1], self._views[0]
        unseen = mass * (self._seen.reshape(mass.shape) < 0.5)
        gain = self._near @ mass.ravel() + rules.glance * (down @ unseen @ across).ravel()
        away = angles_between(self._rays, rays_of(np.array([aim]))[0])
        worth = gain / (1 + rules.turn_cost * away)
        best = np.flatnonzero(worth >= worth.max() * (1 - SAME))
        return Bearing(*self._bearings[best[away[best].argmin()]].tolist())

    def dismiss(self, aim: tuple[float, float]) -> None:
        """What it stays at is not it: somebody who knows better says so, from `aim`."""
        if self._best is not None:
            self._look_in_vain(aim)

    def _tells(self, ratio: Floats, presence: float | None) -> Floats:
        """e, of the cells in view."""
        rules = self._rules
        chance = 0.5 if presence is None else min(max(presence, 1e-9), 1 - 1e-9)
        odds = min(max(math.log(chance / (1 - chance)), -rules.most), rules.most)
        return odds + rules.trust * np.log((1 - rules.doubt) * ratio + rules.doubt)

    def _judge(self, aim: tuple[float, float], there: Floats, presence: float | None) -> None:
        """Stays at what may be found, else has looked in vain."""
        near = self._within_fovea(aim)
        inside = there * near
        if presence is None or presence < self._rules.sure or inside.sum() < 0.5 * there.sum():
            self._look_in_vain(aim)
            return
        self._streak += 1
        self._best = Bearing(*self._bearings[inside.argmax()].tolist())

    def _look_in_vain(self, aim: tuple[float, float]) -> None:
        self._streak, self._best = 0, None
        self._taken[self._within_fovea(aim)] += self._rules.take

    def _within_fovea(self, aim: tuple[float, float]) -> NDArray[np.bool_]:
        ray = rays_of(np.array([aim]))[0]
        return np.asarray(angles_between(self._rays, ray) <= self._rules.fovea_rad)

    def _cells_in_view(self, aim: tuple[float, float], shape: tuple[int, ...]) -> NDArray[np.intp]:
        """(h * w,): the world's cell of each cell of a map, -1 for none."""
        height, width = shape
        columns, rows = Grid((height, width), self._lens.size).centres()
        points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        seen = directions_of(self._lens.rays(points) @ turned_to(aim).T)
        at = np.nan_to_num((seen / self._reach + 1) / 2, nan=-1.0) * self._counts
        inside = ((at >= 0) & (at < self._counts)).all(1)
        across, down = at.astype(np.intp).T
        return np.where(inside, down * self._counts[0] + across, -1)

    def _halves(self, yaws: Floats, pitches: Floats) -> list[tuple[Floats, float]]:
        """Centres of cells along each axis, and how far the camera sees along it."""
        width, height = self._lens.size
        edges = np.array([[0.0, height / 2], [width / 2, 0.0]])
        seen = np.nan_to_num(np.abs(bearings_of(self._lens, edges)), nan=math.pi / 2)
        return [(yaws, float(seen[0, 0])), (pitches, float(seen[1, 1]))]


def within(angles: Floats, half: float) -> Floats:
    """(n, n): 1 where two angles are no more than `half` apart, else 0."""
    return (np.abs(np.subtract.outer(angles, angles)) <= half).astype(float)


def rays_of(bearings: Floats) -> Floats:
    """Unit vectors (n, 3), x right, y down, z forward, of yaw and pitch (n, 2)."""
    yaw, pitch = bearings.T
    level = np.cos(pitch)
    return np.column_stack([-np.sin(yaw) * level, np.sin(pitch), np.cos(yaw) * level])


def directions_of(rays: Floats) -> Floats:
    """Yaw and pitch (n, 2) of rays (n, 3) of any length."""
    x, y, z = rays.T
    return np.column_stack([np.arctan2(-x, z), np.arctan2(y, np.hypot(x, z))])


def turned_to(aim: tuple[float, float]) -> Floats:
    """(3, 3): takes rays of a camera that was panned, then tilted, to the head's frame."""
    (s, t), (c, d) = np.sin(aim), np.cos(aim)
    nod = np.array([[1, 0, 0], [0, d, t], [0, -t, d]])
    pan = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return np.asarray(pan @ nod)


def angles_between(rays: Floats, ray: Floats) -> Floats:
    """(n,), radians, between unit vectors (n, 3) and one (3,)."""
    return np.asarray(np.arccos(np.clip(rays @ ray, -1, 1)))
